"""Pages of the channels' logs in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tidings.backends.rows import ENTRY_COLUMNS, entry
from tidings.backends.sqlite.channel_rows import CHANGES_OF_MESSAGE
from tidings.backends.sqlite.database import Database
from tidings.core.limits import HISTORY_PAGE_BYTES
from tidings.core.ports import History
from tidings.core.values import EntryKind, LogEntry, MessageRow, SeqRange

T = TypeVar("T")

# The largest integer that SQLite stores.
_ENDLESS = (1 << 63) - 1


class SqliteHistory(History):
    """The history in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def visible(self, channel_id: str, user_id: str) -> Sequence[SeqRange]:
        """See `History.visible`."""
        return await self._database.read(
            lambda connection: [
                SeqRange(first, last)
                for first, last in connection.execute(
                    "SELECT since_seq, until_seq FROM memberships WHERE channel_id = ? AND user_id = ?"
                    " ORDER BY since_seq",
                    (channel_id, user_id),
                )
            ]
        )

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

        def work(connection: sqlite3.Connection) -> list[LogEntry]:
            found = _walk(connection, "", channel_id, ranges, before_seq, after_seq)
            page = _page(((each, len(each.body)) for each in found), limit, most_bytes)
            return page if after_seq else page[::-1]

        return await self._database.read(work)

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

        def sized(connection: sqlite3.Connection) -> Iterator[tuple[MessageRow, int]]:
            only = f"AND kind = {EntryKind.MESSAGE}"
            for message in _walk(connection, only, channel_id, ranges, before_seq, after_seq):
                change = _latest_change(connection, channel_id, message.seq, ranges)
                yield MessageRow(message, change), len(message.body) + (len(change.body) if change else 0)

        def work(connection: sqlite3.Connection) -> list[MessageRow]:
            page = _page(sized(connection), limit, most_bytes)
            return page if after_seq else page[::-1]

        return await self._database.read(work)


def _walk(
    connection: sqlite3.Connection,
    only: str,
    channel_id: str,
    ranges: Sequence[SeqRange],
    before_seq: int,
    after_seq: int,
) -> Iterator[LogEntry]:
    """Yield the entries that a page may hold, nearest first: upwards after a seq, else downwards."""
    for stretch in ranges if after_seq else reversed(ranges):
        first = max(stretch.first, after_seq + 1)
        last = min(stretch.last or _ENDLESS, before_seq - 1 if before_seq else _ENDLESS)
        if first <= last:
            rows = connection.execute(
                f"SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = ? AND seq BETWEEN ? AND ? {only}"
                f" ORDER BY seq {'' if after_seq else 'DESC'}",
                (channel_id, first, last),
            )
            yield from map(entry, rows)


def _page(found: Iterable[tuple[T, int]], limit: int, most_bytes: int) -> list[T]:
    """Collect as many items as a page has room for, at least one. Each comes with its size in bytes."""
    page: list[T] = []
    size = 0
    for each, each_size in found:
        size += each_size
        if page and size > most_bytes:
            break
        page.append(each)
        if len(page) == limit:
            break
    return page


def _latest_change(
    connection: sqlite3.Connection, channel_id: str, seq: int, ranges: Sequence[SeqRange]
) -> LogEntry | None:
    changes = connection.execute(f"SELECT seq FROM {CHANGES_OF_MESSAGE} ORDER BY seq DESC", (channel_id, seq))
    latest = next((change for (change,) in changes if any(change in each for each in ranges)), None)
    if latest is None:
        return None
    row = connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = ? AND seq = ?", (channel_id, latest)
    )
    return entry(row.fetchone())
