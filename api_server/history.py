"""A channel's history, as far as somebody may see it."""

from __future__ import annotations

from collections.abc import Sequence

from tidings.core.errors import invalid, not_found
from tidings.core.limits import HISTORY_PAGE, HISTORY_PAGE_DEFAULT, page_size
from tidings.core.ports import History, PageRequest
from tidings.core.values import EntryKind, MessageRow, SeqRange
from tidings.v1 import chat_pb2


class HistoryReader:
    """Reads pages of the logs.

    Args:
        history: The engine.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    async def messages(
        self, caller_id: str, channel_id: str, before_seq: int, after_seq: int | None, size: int
    ) -> list[chat_pb2.Message]:
        """A page of messages as a screen shows them, ordered by seq.

        Args:
            caller_id: Who asks.
            channel_id: Which channel.
            before_seq: The latest page before it, when not 0.
            after_seq: The first page after it, unless None; 0 for the beginning.
            size: At most this many; 0 for the default.

        Raises:
            Refusal: INVALID_ARGUMENT for both before and after, NOT_FOUND for a channel that the caller never was in.
        """
        ranges = await self._visible(caller_id, channel_id, before_seq, after_seq)
        limit = page_size(size, HISTORY_PAGE_DEFAULT, HISTORY_PAGE)
        rows = await self._history.messages(channel_id, ranges, PageRequest(before_seq, after_seq, limit))
        return [_shown(row) for row in rows]

    async def events(
        self, caller_id: str, channel_id: str, before_seq: int, after_seq: int | None, size: int
    ) -> list[chat_pb2.Event]:
        """Read a page of the log itself, ordered by seq; arguments and refusals as in `messages`."""
        ranges = await self._visible(caller_id, channel_id, before_seq, after_seq)
        limit = page_size(size, HISTORY_PAGE_DEFAULT, HISTORY_PAGE)
        entries = await self._history.entries(channel_id, ranges, PageRequest(before_seq, after_seq, limit))
        return [chat_pb2.Event.FromString(entry.body) for entry in entries]

    async def _visible(
        self, caller_id: str, channel_id: str, before_seq: int, after_seq: int | None
    ) -> Sequence[SeqRange]:
        if before_seq and after_seq is not None:
            raise invalid("after_seq", "at most one of before_seq and after_seq may be set", actual=after_seq)
        ranges = await self._history.visible(channel_id, caller_id)
        if not ranges:
            raise not_found("channel", "channel_id")
        return ranges


def _shown(row: MessageRow) -> chat_pb2.Message:
    """Apply the latest change of a message to it.

    That a message has been deleted stands in its own entry, also for those who do not see the entry that deleted it:
    the batch with that one took the text out of the log, and those of all edits.
    """
    message = chat_pb2.Event.FromString(row.message.body).message
    if row.latest_change is not None:
        change = chat_pb2.Event.FromString(row.latest_change.body)
        if row.latest_change.kind is EntryKind.DELETION:
            message.edited_at.CopyFrom(change.message_deleted.deleted_at)
        else:
            message.text = change.message_edited.text
            message.edited_at.CopyFrom(change.message_edited.edited_at)
    return message
