"""The model of everything that the screen shows: channels, people, who is online. It knows no I/O and no screen."""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidings.v1 import account_pb2, channel_pb2, chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.shown import NOTHING, ShownLine, skeleton
from tidings_chat.timeline import entry_of

# What the screen calls the user, and people whom nobody knows any more.
_OWN_WORDS = {skeleton(word) for word in ("you", "somebody")}


class Need(enum.Enum):
    """The part of the model that has to be loaded before it is complete again."""

    CHANNEL = "channel"
    """The channel of the event, which is not known, or whose unread messages are not known exactly."""
    CHANNELS = "channels"
    """All channels, since more than log entries may have changed while there was no stream."""
    EVERYTHING = "everything"
    """All channels, and the history of the one on the screen: events are missing."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person, as far as they are known."""

    user_id: str
    username: ShownLine = NOTHING
    display_name: ShownLine = NOTHING
    is_ambiguous: bool = False
    """Whether somebody else has a name that looks the same, so that the display name alone does not tell who it is."""

    @property
    def name(self) -> ShownLine:
        """The name to show, with the username where it takes that to tell people apart."""
        return self.full_name if self.is_ambiguous else self._own_name

    @property
    def full_name(self) -> ShownLine:
        """The name to show, with the username to find the person by."""
        return ShownLine(f"{self._own_name} @{self.username}" if self.username else self._own_name)

    @property
    def handle(self) -> ShownLine:
        """The username as it is typed; empty when it is not known, or stands in the name already."""
        return ShownLine(f"@{self.username}" if self.username and not self.is_ambiguous else "")

    @property
    def looks(self) -> set[str]:
        """What the person's names look like."""
        return {skeleton(self.display_name), skeleton(self.username)} - {""}

    @property
    def _own_name(self) -> ShownLine:
        # A name of spaces would show nothing.
        return ShownLine(self.display_name.strip() or self.username.strip() or "…")


class Chats:
    """The model of what one user sees.

    Args:
        me: The signed-in user.
    """

    def __init__(self, me: account_pb2.User) -> None:
        self.me = me.user_id
        self.people: dict[str, Person] = {}
        self.strangers: list[str] = []
        """People whom the screen shows without knowing their names; whoever loads the names takes them from here."""
        self.contacts: set[str] = set()
        self.blocked: set[str] = set()
        self.online: dict[str, bool] = {}
        self.channels: dict[str, ChatChannel] = {}
        self.current: ChatChannel | None = None
        """The channel on the screen."""
        self.is_loaded = False
        """Whether the channels have been listed."""
        # The ids of people by what their names look like.
        self._alike: dict[str, set[str]] = {}
        # Receipts may come before the channel that they belong to is known.
        self._early: dict[str, list[chat_pb2.MemberReceipt]] = {}
        self.meet([me])

    # --- for the screen -----------------------------------------------------------------------------------------------

    def ordered(self) -> list[ChatChannel]:
        """Lists the channels, latest activity first; those just opened come before, those without any activity last."""
        return sorted(
            self.channels.values(),
            key=lambda channel: (channel.is_fresh, channel.head_position, channel.channel_id),
            reverse=True,
        )

    def person(self, user_id: str) -> Person:
        """Gives a person; one who is not known yet is added, once, to `strangers`."""
        person = self.people.get(user_id)
        if person is None:
            person = self.people[user_id] = Person(user_id)
            self.strangers.append(user_id)
        return person

    def name_of(self, channel: ChatChannel) -> ShownLine:
        """Gives the name to show for a channel."""
        return self.person(channel.peer).name if channel.is_direct else ShownLine(channel.title.strip() or "no title")

    def unread(self, beside: str = "") -> int:
        """Counts the unread messages, except those of muted channels and of the channel given."""
        return sum(
            channel.unread for channel in self.channels.values() if not channel.muted and channel.channel_id != beside
        )

    # --- changes ------------------------------------------------------------------------------------------------------

    def meet(self, users: Iterable[account_pb2.User]) -> None:
        """Takes profiles of people."""
        for user in users:
            before = self.people.get(user.user_id)
            person = Person(user.user_id, ShownLine(user.username), ShownLine(user.display_name))
            self.people[user.user_id] = person
            looks = person.looks | (before.looks if before is not None else set())
            for look in person.looks:
                self._alike.setdefault(look, set()).add(user.user_id)
            for look in looks - person.looks:
                self._alike.setdefault(look, set()).discard(user.user_id)
            for user_id in {other for look in looks for other in self._alike[look]} | {user.user_id}:
                self.people[user_id] = replace(self.people[user_id], is_ambiguous=self._is_ambiguous(user_id))

    def _is_ambiguous(self, user_id: str) -> bool:
        """Whether a name may be taken for somebody else's, or for what the screen itself says."""
        person = self.people[user_id]
        if user_id == self.me:
            return False
        imitates = bool(person.looks & _OWN_WORDS) or "@" in unicodedata.normalize("NFKC", person.display_name)
        return imitates or any(self._alike[look] - {user_id} for look in person.looks)

    def put(self, snapshot: channel_pb2.Channel) -> ChatChannel:
        """Takes a snapshot of a channel."""
        channel = self.channels.get(snapshot.channel_id)
        if channel is None:
            channel = self.channels[snapshot.channel_id] = ChatChannel.of(snapshot, self.me)
            channel.take_receipts(self._early.pop(snapshot.channel_id, ()))
        else:
            channel.refresh(snapshot)
        return channel

    def put_all(self, snapshots: Iterable[channel_pb2.Channel]) -> None:
        """Takes the list of the channels that the user is in.

        A channel that is known and not listed stays: events tell of its end, and a list may be older than they are.
        """
        for snapshot in snapshots:
            self.put(snapshot)
        self.is_loaded = True

    def start_over(self, snapshots: Iterable[channel_pb2.Channel]) -> None:
        """Replaces the channels by a list, since events are missing.

        A channel on the screen that is not listed stays on the screen, and nothing is added to it.
        """
        listed = list(snapshots)
        kept = {snapshot.channel_id for snapshot in listed}
        for channel_id in [channel_id for channel_id in self.channels if channel_id not in kept]:
            del self.channels[channel_id]
        for channel in self.channels.values():
            channel.forget()
        self.put_all(listed)
        if self.current is not None:
            self.current = self.channels.get(self.current.channel_id, self.current)

    def remove(self, channel: ChatChannel) -> None:
        """Removes a channel that the user has left, from the list and from the screen."""
        self.channels.pop(channel.channel_id, None)
        if self.current is channel:
            self.current = None

    def take(self, event: chat_pb2.Event, now: float) -> Need | None:
        """Takes an event of the stream.

        Args:
            event: The event.
            now: The time in seconds, by a monotonic clock.

        Returns:
            What has to be loaded, if anything.
        """
        entry = entry_of(event)
        if entry is not None:
            channel = self.channels.get(entry.channel_id)
            if channel is None:
                return Need.CHANNEL
            channel.take(entry)
            return Need.CHANNEL if channel.is_unsure and isinstance(entry, chat_pb2.MessageDeleted) else None
        match event.WhichOneof("body"):
            case "receipt":
                return self._take_receipt(event.receipt)
            case "typing":
                typing = event.typing
                if (channel := self.channels.get(typing.channel_id)) is not None:
                    channel.take_typing(typing.user_id, typing.typing, now)
            case "sync_complete":
                return Need.CHANNELS
            case "sync_reset":
                return Need.EVERYTHING
        return None

    def _take_receipt(self, receipt: chat_pb2.Receipt) -> Need | None:
        channel = self.channels.get(receipt.channel_id)
        if channel is None:
            # A channel that is not known yet is loaded when its first event comes.
            self._early.setdefault(receipt.channel_id, []).extend(receipt.members)
            return None
        channel.take_receipts(receipt.members)
        return Need.CHANNEL if channel.is_unsure else None
