"""The rows of the message pane: days, notices, and messages with names, quotations and marks."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeAlias

from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.channels import ChatChannel, OutgoingMessage
from tidings_chat.chats import Chats
from tidings_chat.shown import NOTHING, ShownLine, ShownText
from tidings_chat.text import day, joined
from tidings_chat.timeline import Change, Item, MembersItem, MessageItem, TitleItem

_SAME_BREATH = timedelta(minutes=5)
_QUOTE_CHARACTERS = 120

_ROLES = {
    channel_pb2.MEMBER_ROLE_MEMBER: "a member",
    channel_pb2.MEMBER_ROLE_ADMIN: "an admin",
    channel_pb2.MEMBER_ROLE_OWNER: "the owner",
}


class Mark(enum.Enum):
    """The progress of a message of the user, as it is shown beside it."""

    NONE = ""
    SENDING = "…"
    FAILED = "✗"
    SENT = "✓"
    DELIVERED = "✓✓"
    READ = "✓✓ read"


@dataclass(frozen=True, slots=True)
class DayRow:
    """The line at which a new day begins."""

    day: date
    text: ShownLine

    @property
    def key(self) -> str:
        """Names the row."""
        return f"day {self.day}"


@dataclass(frozen=True, slots=True)
class NewRow:
    """The line after which everything was unread when the channel was opened."""

    key: str = "new"


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """The top: the beginning of the conversation, or a sign that there is more."""

    text: ShownLine
    key: str = "edge"


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice of something other than a message."""

    seq: int
    text: ShownText
    time: str

    @property
    def key(self) -> str:
        """Names the row."""
        return f"seq {self.seq}"


@dataclass(frozen=True, slots=True)
class ChatMessageRow:
    """A message."""

    key: str
    """Names the row."""
    seq: int
    """0 while the message is on its way."""
    sender_id: str
    sender: ShownLine
    is_mine: bool
    is_continued: bool
    """Whether it closely follows a message of the same sender, so that the name need not be repeated."""
    time: str
    text: ShownText
    quote: ShownLine
    """The message that it answers; empty when it answers none."""
    edited: bool
    deleted: bool
    mark: Mark
    remark: ShownLine = NOTHING
    """More about the mark: why the message failed, or how many have read it."""


Row: TypeAlias = DayRow | NewRow | EdgeRow | NoticeRow | ChatMessageRow


def rows(chats: Chats, channel: ChatChannel, new_after: int, now: datetime) -> list[Row]:
    """Makes the rows of a channel.

    Args:
        chats: The model, which knows the people.
        channel: The channel.
        new_after: The seq after which everything was unread when the channel was opened; 0 for no such line.
        now: The time, in the local time zone.
    """
    return list(_RowBuilder(chats, channel, new_after, now).rows())


class _RowBuilder:
    """Makes the rows of a channel; its arguments are those of `rows`."""

    def __init__(self, chats: Chats, channel: ChatChannel, new_after: int, now: datetime) -> None:
        self._chats = chats
        self._channel = channel
        self._new_after = new_after
        self._now = now
        self._before: MessageItem | None = None
        self._first_titles: dict[int, ShownLine] = {}

    def rows(self) -> Iterator[Row]:
        timeline = self._channel.timeline
        if timeline.is_complete:
            words = "This is where it begins" if timeline.items else "Nothing has been said here yet"
            yield EdgeRow(ShownLine(words))
        else:
            yield EdgeRow(ShownLine("…"))
        today = self._now.date()
        last_day: date | None = None
        new_after = self._new_after
        for item in self._told_together(timeline.items):
            at = _time_of(item)
            if at.date() != last_day:
                last_day = at.date()
                self._before = None
                yield DayRow(last_day, day(last_day, today))
            if new_after and item.seq > new_after:
                new_after = 0
                self._before = None
                yield NewRow()
            if isinstance(item, MessageItem):
                yield self._message(item)
                self._before = item
            else:
                self._before = None
                yield NoticeRow(item.seq, self._notice(item), f"{at:%H:%M}")
        if self._channel.outgoing and last_day != today:
            self._before = None
            yield DayRow(today, day(today, today))
        for index, sending in enumerate(self._channel.outgoing):
            yield self._sending(sending, is_first=index == 0)

    def _told_together(self, items: Sequence[Item]) -> Iterator[Item]:
        """Gives the items without a group's first title, which is told with the making of the group."""
        making: MembersItem | None = None
        for item in items:
            if making is not None and isinstance(item, TitleItem) and item.seq == making.seq + 1:
                self._first_titles[making.seq] = item.title
                yield making
                making = None
                continue
            if making is not None:
                yield making
            making = item if isinstance(item, MembersItem) and item.seq == 1 else None
            if making is None:
                yield item
        if making is not None:
            yield making

    def _message(self, item: MessageItem) -> ChatMessageRow:
        """Makes the row of a message, with its mark when it is the user's own."""
        before = self._before
        is_mine = item.sender_id == self._chats.me
        mark, remark = self._mark(item) if is_mine and not item.deleted else (Mark.NONE, NOTHING)
        return ChatMessageRow(
            key=f"seq {item.seq}",
            seq=item.seq,
            sender_id=item.sender_id,
            sender=self._name(item.sender_id),
            is_mine=is_mine,
            is_continued=before is not None
            and before.sender_id == item.sender_id
            and item.sent_at - before.sent_at < _SAME_BREATH,
            time=f"{item.sent_at:%H:%M}",
            text=item.text,
            quote=self._quote(item.reply_to_seq) if not item.deleted else NOTHING,
            edited=item.edited,
            deleted=item.deleted,
            mark=mark,
            remark=remark,
        )

    def _sending(self, sending: OutgoingMessage, is_first: bool) -> ChatMessageRow:
        me = self._chats.me
        before = self._before
        follows_own = before is not None and before.sender_id == me and self._now - before.sent_at < _SAME_BREATH
        return ChatMessageRow(
            key=f"sending {sending.client_message_id}",
            seq=0,
            sender_id=me,
            sender=self._name(me),
            is_mine=True,
            is_continued=follows_own or not is_first,
            time=f"{self._now:%H:%M}",
            text=ShownText(sending.text),
            quote=self._quote(sending.reply_to_seq),
            edited=False,
            deleted=False,
            mark=Mark.FAILED if sending.failure else Mark.SENDING,
            remark=sending.failure,
        )

    def _mark(self, item: MessageItem) -> tuple[Mark, ShownLine]:
        reach = self._channel.reach(item.seq)
        if not reach.recipients:
            return Mark.SENT, NOTHING
        if reach.read == reach.recipients:
            return Mark.READ, ShownLine("" if self._channel.is_direct else "by all")
        remark = ShownLine(f"read by {reach.read}" if reach.read else "")
        return (Mark.DELIVERED if reach.delivered == reach.recipients else Mark.SENT), remark

    def _quote(self, seq: int) -> ShownLine:
        if not seq:
            return NOTHING
        message = self._channel.timeline.quoted(seq)
        if message is None:
            return ShownLine("an earlier message")
        if message.deleted:
            return ShownLine(f"{self._name(message.sender_id)}: deleted message")
        return ShownLine(f"{self._name(message.sender_id)}: {message.text[:_QUOTE_CHARACTERS]}")

    def _notice(self, item: MembersItem | TitleItem) -> ShownText:
        actor = self._name(item.actor_id)
        if isinstance(item, TitleItem):
            return ShownText(f"{actor} changed the title to “{item.title}”")
        return ShownText("; ".join(self._changes(item, actor)))

    def _changes(self, item: MembersItem, actor: str) -> Iterator[str]:
        def having(kind: chat_pb2.MemberChange.Kind) -> list[Change]:
            return [change for change in item.changes if change.kind == kind]

        added = having(chat_pb2.MemberChange.KIND_ADDED)
        if any(change.user_id == item.actor_id for change in added):
            others = [change for change in added if change.user_id != item.actor_id]
            title = self._first_titles.get(item.seq, NOTHING)
            named = f"made “{title}”" if title else "made the group"
            yield f"{actor} {named}" + (f" with {self._names(others)}" if others else "")
        elif added:
            yield f"{actor} added {self._names(added)}"
        if removed := having(chat_pb2.MemberChange.KIND_REMOVED):
            yield f"{actor} removed {self._names(removed)}"
        for change in having(chat_pb2.MemberChange.KIND_LEFT):
            yield f"{self._name(change.user_id)} left"
        for change in having(chat_pb2.MemberChange.KIND_ROLE_CHANGED):
            are = "are" if change.user_id == self._chats.me else "is"
            yield f"{self._name(change.user_id)} {are} {_ROLES.get(change.role, 'a member')} now"

    def _names(self, changes: list[Change]) -> str:
        return joined([self._object(change.user_id) for change in changes])

    def _name(self, user_id: str) -> ShownLine:
        return ShownLine("You") if user_id == self._chats.me else self._chats.person(user_id).name

    def _object(self, user_id: str) -> ShownLine:
        return ShownLine("you") if user_id == self._chats.me else self._chats.person(user_id).name


def _time_of(item: Item) -> datetime:
    return item.sent_at if isinstance(item, MessageItem) else item.at
