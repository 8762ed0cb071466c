"""A channel as the user sees it: its members, what is unread, who has received what, and who is typing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.shown import NOTHING, ShownLine
from tidings_chat.timeline import LogEntry, Timeline

TYPING_SECONDS = 6.0
"""How long "is typing" is shown after it came last."""
MOST_UNREAD = 999
"""The server counts no further: it means this many or more."""


@dataclass(slots=True)
class MemberMarks:
    """The seqs up to which one member has received and read."""

    delivered_seq: int = 0
    read_seq: int = 0

    def raise_to(self, delivered_seq: int, read_seq: int) -> None:
        """Moves the marks forward, never back; what is read has also been delivered."""
        self.read_seq = max(self.read_seq, read_seq)
        self.delivered_seq = max(self.delivered_seq, delivered_seq, self.read_seq)


@dataclass(frozen=True, slots=True)
class Reach:
    """The number of a message's recipients, and of those who have received and read it."""

    recipients: int
    delivered: int
    read: int


@dataclass(slots=True)
class Membership:
    """A member's role in a channel, and since when they are in it."""

    role: channel_pb2.MemberRole
    since_seq: int
    """The first seq that the member sees."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """A message of the user that no server has accepted yet."""

    client_message_id: str
    text: str
    """As it was written, and as it is sent."""
    reply_to_seq: int
    failure: ShownLine = NOTHING
    """Why it will not arrive, in words; empty while it may."""


@dataclass(slots=True, eq=False)
class ChatChannel:
    """A channel, kept up to date by snapshots of the api and by events, whichever are newer."""

    channel_id: str
    me: str
    kind: channel_pb2.ChannelKind
    title: ShownLine = NOTHING
    members: dict[str, Membership] = field(default_factory=dict)
    """Longest-serving first."""
    head_seq: int = 0
    head_position: int = 0
    read_seq: int = 0
    """The seq up to which the user has read."""
    muted: bool = False
    is_fresh: bool = False
    """Whether the user has just opened it, and nothing has happened in it yet."""
    marks: dict[str, MemberMarks] = field(default_factory=dict)
    outgoing: list[OutgoingMessage] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)
    is_open: bool = False
    """Whether the timeline is kept; until it is opened, only counts are."""
    is_unsure: bool = False
    """Whether only a new snapshot can tell how much is unread."""
    _typing: dict[str, float] = field(default_factory=dict)
    # The unread messages that the snapshot counted, up to its head, and the seqs of those that came after it.
    _counted: int = 0
    _counted_to: int = 0
    _unread: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, snapshot: channel_pb2.Channel, me: str) -> ChatChannel:
        """Makes a channel as the api describes it."""
        channel = cls(snapshot.channel_id, me, snapshot.kind)
        channel.refresh(snapshot)
        return channel

    # --- for the screen -----------------------------------------------------------------------------------------------

    @property
    def is_direct(self) -> bool:
        """Whether it is a channel between two people."""
        return self.kind == channel_pb2.CHANNEL_KIND_DIRECT

    @property
    def is_member(self) -> bool:
        """Whether the user is in it, and may write."""
        return self.me in self.members

    @property
    def peer(self) -> str:
        """The other person of a direct channel; empty for a group."""
        return next((user_id for user_id in self.members if user_id != self.me), "") if self.is_direct else ""

    @property
    def role(self) -> channel_pb2.MemberRole:
        """The user's own role; unspecified when they are not in it."""
        mine = self.members.get(self.me)
        return mine.role if mine is not None else channel_pb2.MEMBER_ROLE_UNSPECIFIED

    @property
    def is_admin(self) -> bool:
        """Whether the user may add and remove people, retitle, and delete anyone's messages."""
        return self.role in (channel_pb2.MEMBER_ROLE_ADMIN, channel_pb2.MEMBER_ROLE_OWNER)

    @property
    def unread(self) -> int:
        """The number of messages of others that the user has not read."""
        return min(MOST_UNREAD, self._counted + len(self._unread))

    def typing(self, now: float) -> list[str]:
        """Lists the ids of those who are typing.

        Args:
            now: The time, in seconds of the clock that `take` is told.
        """
        return [user_id for user_id, until in self._typing.items() if until > now]

    def reach(self, seq: int) -> Reach:
        """Counts who has received and read a message, of those who were in the channel then and are now."""
        marks = [
            self.marks.get(user_id, MemberMarks())
            for user_id, member in self.members.items()
            if user_id != self.me and member.since_seq <= seq
        ]
        return Reach(
            len(marks),
            sum(each.delivered_seq >= seq for each in marks),
            sum(each.read_seq >= seq for each in marks),
        )

    # --- changes ------------------------------------------------------------------------------------------------------

    def refresh(self, snapshot: channel_pb2.Channel) -> None:
        """Takes a snapshot of the api. Where events are newer than the snapshot, they are kept."""
        self.muted = snapshot.muted
        for member in snapshot.members:
            self.marks.setdefault(member.user_id, MemberMarks()).raise_to(member.delivered_seq, member.read_seq)
        self.read_seq = max(self.read_seq, snapshot.my_read_seq)
        if snapshot.head_seq >= self._counted_to:
            self._counted_to = snapshot.head_seq
            self._counted = snapshot.unread_count
            self._unread = [seq for seq in self._unread if seq > snapshot.head_seq]
            self.is_unsure = False
        if snapshot.head_seq >= self.head_seq:
            self.title = ShownLine(snapshot.title)
            self.members = {each.user_id: Membership(each.role, each.since_seq) for each in snapshot.members}
            self.head_seq = snapshot.head_seq
            self.head_position = snapshot.head_position
        if self.read_seq > snapshot.my_read_seq:
            self._forget_read()

    def take(self, entry: LogEntry) -> None:
        """Takes an entry of the log."""
        if self.is_open:
            self.timeline.add(entry)
        if isinstance(entry, chat_pb2.Message):
            self._typing.pop(entry.sender_id, None)
            self._arrived(entry)
        if entry.seq <= self.head_seq:
            return
        self.head_seq, self.head_position = entry.seq, entry.position
        self.is_fresh = False
        match entry:
            case chat_pb2.Message():
                if entry.sender_id != self.me and not entry.deleted and entry.seq > self.read_seq:
                    self._unread.append(entry.seq)
            case chat_pb2.MessageDeleted():
                if entry.message_seq in self._unread:
                    self._unread.remove(entry.message_seq)
                elif self._counted and self.read_seq < entry.message_seq <= self._counted_to:
                    # It may be the user's own.
                    self.is_unsure = True
            case chat_pb2.MembershipChanged():
                for change in entry.changes:
                    self._change_member(change, entry.seq)
            case chat_pb2.ChannelUpdated():
                self.title = ShownLine(entry.title)

    def take_receipts(self, receipts: Iterable[chat_pb2.MemberReceipt]) -> None:
        """Takes receipts: how far members have received and read."""
        for receipt in receipts:
            marks = self.marks.setdefault(receipt.user_id, MemberMarks())
            marks.raise_to(receipt.delivered_seq, receipt.read_seq)
            if receipt.user_id == self.me:
                self.mark_read(receipt.read_seq)

    def take_typing(self, user_id: str, typing: bool, now: float) -> None:
        """Notes that somebody is typing, or has stopped."""
        if typing and user_id != self.me:
            self._typing[user_id] = now + TYPING_SECONDS
        else:
            self._typing.pop(user_id, None)

    def mark_read(self, seq: int) -> None:
        """Notes that the user has read everything up to a seq, here or on another device."""
        if seq > self.read_seq:
            self.read_seq = seq
            self._forget_read()

    def forget(self) -> None:
        """Forgets the timeline, since events are missing: it is loaded again."""
        self.timeline = Timeline()
        self._typing.clear()

    def _forget_read(self) -> None:
        self._unread = [seq for seq in self._unread if seq > self.read_seq]
        if self._counted:
            if self.read_seq >= self._counted_to:
                self._counted = 0
            else:
                self.is_unsure = True

    def _arrived(self, message: chat_pb2.Message) -> None:
        """Removes the outgoing message that has come as an event."""
        if message.sender_id == self.me:
            self.outgoing = [each for each in self.outgoing if each.client_message_id != message.client_message_id]

    def _change_member(self, change: chat_pb2.MemberChange, seq: int) -> None:
        if change.kind == chat_pb2.MemberChange.KIND_ADDED:
            self.members[change.user_id] = Membership(change.role, seq)
        elif change.kind == chat_pb2.MemberChange.KIND_ROLE_CHANGED:
            if change.user_id in self.members:
                self.members[change.user_id].role = change.role
        else:
            self.members.pop(change.user_id, None)
            self._typing.pop(change.user_id, None)
