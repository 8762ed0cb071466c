"""Pages of the channels' logs in Cassandra."""

from __future__ import annotations

from collections.abc import Sequence

from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.log_reader import LogReader
from tidings.backends.pages import Page
from tidings.core.ports import History, PageRequest
from tidings.core.values import LogEntry, MessageRow, SeqRange

_STAYS = Statement("SELECT since_seq, until_seq FROM memberships WHERE channel_id = ? AND user_id = ?")


class CassandraHistory(History):
    """The history in Cassandra.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra
        self._reader = LogReader(cassandra)

    async def visible(self, channel_id: str, user_id: str) -> Sequence[SeqRange]:
        """See `History.visible`."""
        return [SeqRange(*stay) for stay in await self._cassandra.execute(_STAYS, (channel_id, user_id))]

    async def entries(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[LogEntry]:
        """See `History.entries`."""
        found = Page[LogEntry](page)
        async for part in self._reader.walk(channel_id, ranges, page):
            for entry in part:
                if not found.add(entry, len(entry.body)):
                    return found.in_order()
        return found.in_order()

    async def messages(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[MessageRow]:
        """See `History.messages`."""
        found = Page[MessageRow](page)
        async for part in self._reader.walk(channel_id, ranges, page, messages_only=True):
            changes = await self._reader.latest_changes(channel_id, [each.seq for each in part], ranges)
            for message in part:
                change = changes.get(message.seq)
                size = len(message.body) + (len(change.body) if change else 0)
                if not found.add(MessageRow(message, change), size):
                    return found.in_order()
        return found.in_order()
