"""The timeline: one channel's log as far as it is known, folded into what a screen shows of it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.shown import ShownLine, ShownText

LogEntry: TypeAlias = (
    chat_pb2.Message
    | chat_pb2.MessageEdited
    | chat_pb2.MessageDeleted
    | chat_pb2.MembershipChanged
    | chat_pb2.ChannelUpdated
)
"""An entry of a channel's log."""


def entry_of(event: chat_pb2.Event) -> LogEntry | None:
    """Gives the log entry of an event; None when the event is in no channel's log."""
    match event.WhichOneof("body"):
        case "message":
            return event.message
        case "message_edited":
            return event.message_edited
        case "message_deleted":
            return event.message_deleted
        case "membership_changed":
            return event.membership_changed
        case "channel_updated":
            return event.channel_updated
        case _:
            return None


@dataclass(frozen=True, slots=True)
class MessageItem:
    """A message as it stands now."""

    seq: int
    sender_id: str
    client_message_id: str
    text: ShownText
    """Empty once the message is deleted."""
    reply_to_seq: int
    """The seq of the message that it answers, or 0."""
    sent_at: datetime
    """In local time."""
    edited: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one member."""

    user_id: str
    kind: chat_pb2.MemberChange.Kind
    role: channel_pb2.MemberRole


@dataclass(frozen=True, slots=True)
class MembersItem:
    """Members who came, went or got another role."""

    seq: int
    actor_id: str
    changes: tuple[Change, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class TitleItem:
    """A new title of the group."""

    seq: int
    actor_id: str
    title: ShownLine
    at: datetime


Item: TypeAlias = MessageItem | MembersItem | TitleItem
"""An item that is shown of a channel."""


class Timeline:
    """Takes log entries in any order, any number of times, and shows the fold of those that it has.

    An entry never changes, except that the text of a deleted message, or of an edit that is not the latest, becomes
    empty. So what is shown
    depends on which entries are known, and not on whether they came live, in a replay, or with a page of history.
    """

    def __init__(self) -> None:
        self.is_complete = False
        """Whether there is nothing older to load."""
        self.is_loaded = False
        """Whether a page of history has been loaded."""
        self.wanted: list[int] = []
        """Seqs of messages that are quoted and not known; whoever loads them takes them from here."""
        self._quotes: dict[int, chat_pb2.Message] = {}
        self._noted: set[int] = set()
        self._seqs: list[int] = []
        self._shown: list[int] = []
        self._messages: dict[int, chat_pb2.Message] = {}
        self._edits: dict[int, chat_pb2.MessageEdited] = {}
        self._deleted: set[int] = set()
        self._items: dict[int, Item] = {}

    @property
    def oldest(self) -> int:
        """The seq of the oldest known entry; 0 when there is none."""
        return self._seqs[0] if self._seqs else 0

    @property
    def items(self) -> Sequence[Item]:
        """The items to show, ordered by seq."""
        return [self._items[seq] for seq in self._shown]

    def message(self, seq: int) -> MessageItem | None:
        """Gives a message; None when it is not known."""
        item = self._items.get(seq)
        return item if isinstance(item, MessageItem) else None

    def quoted(self, seq: int) -> MessageItem | None:
        """Gives a message that another one answers; None when it is not known, and then `wanted` gets it, once."""
        message = self.message(seq)
        if message is None and seq in self._quotes:
            message = self._fold(self._quotes[seq])
        if message is None and seq not in self._noted:
            self._noted.add(seq)
            self.wanted.append(seq)
        return message

    def add_quote(self, message: chat_pb2.Message) -> None:
        """Takes a message as it is now, for the quotation alone."""
        self._quotes[message.seq] = message

    def add_page(self, entries: Iterable[LogEntry], is_last: bool) -> None:
        """Takes a page of history: the latest page, or the one before the oldest entry.

        Args:
            entries: The page.
            is_last: Whether there is nothing before the page.
        """
        for entry in entries:
            self.add(entry)
        self.is_loaded = True
        self.is_complete = self.is_complete or is_last

    def add(self, entry: LogEntry) -> bool:
        """Takes one entry.

        Returns:
            Whether it was new.
        """
        seq = entry.seq
        index = bisect_left(self._seqs, seq)
        if index < len(self._seqs) and self._seqs[index] == seq:
            return False
        self._seqs.insert(index, seq)
        match entry:
            case chat_pb2.Message():
                self._messages[seq] = entry
                self._show(seq, self._fold(entry))
            # Without a text it is not the latest edit, or the message is deleted: another entry has what is so now.
            case chat_pb2.MessageEdited() if entry.text:
                before = self._edits.get(entry.message_seq)
                if before is None or before.seq < seq:
                    self._edits[entry.message_seq] = entry
                    self._refold(entry.message_seq)
            case chat_pb2.MessageDeleted():
                self._deleted.add(entry.message_seq)
                self._refold(entry.message_seq)
            case chat_pb2.MembershipChanged():
                changes = tuple(Change(each.user_id, each.kind, each.role) for each in entry.changes)
                self._show(seq, MembersItem(seq, entry.actor_id, changes, local_time(entry.created_at)))
            case chat_pb2.ChannelUpdated():
                self._show(seq, TitleItem(seq, entry.actor_id, ShownLine(entry.title), local_time(entry.updated_at)))
        return True

    def _show(self, seq: int, item: Item) -> None:
        insort(self._shown, seq)
        self._items[seq] = item

    def _refold(self, seq: int) -> None:
        message = self._messages.get(seq)
        if message is not None:
            self._items[seq] = self._fold(message)

    def _fold(self, message: chat_pb2.Message) -> MessageItem:
        edit = self._edits.get(message.seq)
        deleted = message.deleted or message.seq in self._deleted
        text = message.text if edit is None else edit.text
        return MessageItem(
            seq=message.seq,
            sender_id=message.sender_id,
            client_message_id=message.client_message_id,
            text=ShownText("" if deleted else text),
            reply_to_seq=message.reply_to_seq,
            sent_at=local_time(message.created_at),
            edited=edit is not None and not deleted,
            deleted=deleted,
        )


def local_time(timestamp: Timestamp) -> datetime:
    """Converts a time of the contract to this machine's time zone; a time that no calendar has becomes the first."""
    try:
        return datetime.fromtimestamp(timestamp.ToNanoseconds() / 1e9).astimezone()
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0).astimezone()
