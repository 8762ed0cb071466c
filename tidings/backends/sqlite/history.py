"""Pages of the channels' logs in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from tidings.backends.pages import Page, stretches
from tidings.backends.rows import ENTRY_COLUMNS, log_entry
from tidings.backends.sqlite.channel_rows import CHANGES_OF_MESSAGE, MESSAGES
from tidings.backends.sqlite.database import Database
from tidings.core.ports import History, PageRequest
from tidings.core.values import LogEntry, MessageRow, SeqRange

# The largest integer that SQLite stores.
_ENDLESS = (1 << 63) - 1

_ENTRIES = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = :channel AND seq BETWEEN :first AND :last"
_SOME_MESSAGES = f"SELECT {ENTRY_COLUMNS} FROM {MESSAGES} AND seq BETWEEN :first AND :last"
# SQLite merges the two as it reads them.
_MESSAGES = f"{_SOME_MESSAGES.format(gone=0)} UNION ALL {_SOME_MESSAGES.format(gone=1)}"

_LATEST_SEQ = f"SELECT max(seq) FROM {CHANGES_OF_MESSAGE} AND seq BETWEEN :first AND :last"
_LATEST_CHANGE = f"""
SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = :channel AND seq = (
    SELECT max(coalesce(({_LATEST_SEQ.format(gone=0)}), 0), coalesce(({_LATEST_SEQ.format(gone=1)}), 0))
)
"""


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

    async def entries(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[LogEntry]:
        """See `History.entries`."""

        def work(connection: sqlite3.Connection) -> Sequence[LogEntry]:
            found = Page[LogEntry](page)
            for entry in _walk(connection, _ENTRIES, channel_id, ranges, page):
                if not found.add(entry, len(entry.body)):
                    break
            return found.in_order()

        return await self._database.read(work)

    async def messages(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[MessageRow]:
        """See `History.messages`."""

        def work(connection: sqlite3.Connection) -> Sequence[MessageRow]:
            found = Page[MessageRow](page)
            for message in _walk(connection, _MESSAGES, channel_id, ranges, page):
                change = _latest_change(connection, channel_id, message.seq, ranges)
                size = len(message.body) + (len(change.body) if change else 0)
                if not found.add(MessageRow(message, change), size):
                    break
            return found.in_order()

        return await self._database.read(work)


def _walk(
    connection: sqlite3.Connection, query: str, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest
) -> Iterator[LogEntry]:
    """Yield the entries that a page may hold, nearest first: upwards after a seq, else downwards."""
    for first, last in stretches(ranges, page, _ENDLESS):
        rows = connection.execute(
            f"{query} ORDER BY seq {'ASC' if page.upwards else 'DESC'}",
            {"channel": channel_id, "first": first, "last": last},
        )
        yield from map(log_entry, rows)


def _latest_change(
    connection: sqlite3.Connection, channel_id: str, seq: int, ranges: Sequence[SeqRange]
) -> LogEntry | None:
    """Find the latest change of a message that somebody sees who sees these ranges."""
    for each in reversed(ranges):
        asked = {"channel": channel_id, "seq": seq, "first": each.first, "last": each.last or _ENDLESS}
        row = connection.execute(_LATEST_CHANGE, asked).fetchone()
        if row is not None:
            return log_entry(row)
    return None
