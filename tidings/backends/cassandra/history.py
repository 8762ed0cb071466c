"""Pages of the channels' logs in Cassandra."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeVar

from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.log_reader import LogReader, is_change
from tidings.core.limits import HISTORY_PAGE_BYTES
from tidings.core.ports import History
from tidings.core.values import LogEntry, MessageRow, SeqRange

T = TypeVar("T")

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

    async def entries(
        self,
        channel_id: str,
        ranges: Sequence[SeqRange],
        before_seq: int,
        after_seq: int,
        limit: int,
        most_bytes: int = HISTORY_PAGE_BYTES,
    ) -> Sequence[LogEntry]:
        """See `History.entries`."""

        async def sized() -> AsyncIterator[tuple[LogEntry, int]]:
            async for part in self._reader.walk(channel_id, ranges, before_seq, after_seq, limit):
                for each in part:
                    yield each, len(each.body)

        page = await _page(sized(), limit, most_bytes)
        return page if after_seq else page[::-1]

    async def messages(
        self,
        channel_id: str,
        ranges: Sequence[SeqRange],
        before_seq: int,
        after_seq: int,
        limit: int,
        most_bytes: int = HISTORY_PAGE_BYTES,
    ) -> Sequence[MessageRow]:
        """See `History.messages`."""

        async def sized() -> AsyncIterator[tuple[MessageRow, int]]:
            walk = self._reader.walk(channel_id, ranges, before_seq, after_seq, limit, messages_only=True)
            async for part in walk:
                changes = await self._latest_changes(channel_id, [each.seq for each in part], ranges)
                for message in part:
                    change = changes.get(message.seq)
                    yield MessageRow(message, change), len(message.body) + (len(change.body) if change else 0)

        page = await _page(sized(), limit, most_bytes)
        return page if after_seq else page[::-1]

    async def _latest_changes(
        self, channel_id: str, seqs: Sequence[int], ranges: Sequence[SeqRange]
    ) -> Mapping[int, LogEntry]:
        """Read the latest change of each message within the ranges; the log decides whether a candidate is one."""
        changes = await self._reader.changes(channel_id, seqs)
        candidates = {
            target: [seq for seq in changing if any(seq in each for each in ranges)]
            for target, changing in changes.items()
        }
        latest: dict[int, LogEntry] = {}
        while candidates := {target: changing for target, changing in candidates.items() if changing}:
            tried = {target: changing.pop() for target, changing in candidates.items()}
            found = await self._reader.entries(channel_id, tried.values())
            for target, seq in tried.items():
                change = found.get(seq)
                if change is not None and is_change(change, target):
                    latest[target] = change
                    del candidates[target]
        return latest


async def _page(found: AsyncIterator[tuple[T, int]], limit: int, most_bytes: int) -> list[T]:
    """Collect as many items as a page has room for, at least one. Each comes with its size in bytes."""
    page: list[T] = []
    size = 0
    async for each, each_size in found:
        size += each_size
        if page and size > most_bytes:
            break
        page.append(each)
        if len(page) == limit:
            break
    return page
