"""The channels' logs in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence

from tidings.backends.rows import ENTRY_COLUMNS, encode_marks, log_entry
from tidings.backends.sqlite.channel_rows import ACTIVE_WITHIN, CHANGES_OF_MESSAGE, load_snapshot
from tidings.backends.sqlite.database import Database
from tidings.core.ports import ChannelLog
from tidings.core.values import (
    AlreadySent,
    Appended,
    AppendOutcome,
    ChannelSnapshot,
    EntryKind,
    HeadMoved,
    LogBatch,
    LogEntry,
    Marks,
)

_LARGEST_SEQ = (1 << 63) - 1
_HEAD = "SELECT seq FROM entries WHERE channel_id = ? ORDER BY seq DESC LIMIT 1"
_INSERT_ENTRY = f"INSERT INTO entries ({ENTRY_COLUMNS}, channel_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_SENT = "INSERT INTO sent VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_REDACT = "UPDATE entries SET body = ?, gone = 1 WHERE channel_id = ? AND seq = ?"
_WITH_TEXT = f"SELECT {ENTRY_COLUMNS} FROM {CHANGES_OF_MESSAGE.format(gone=0)} ORDER BY seq"
_MEMBERSHIP = """
INSERT INTO memberships (channel_id, user_id, since_seq, until_seq, role, joined_at_ms, active)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET until_seq = excluded.until_seq, role = excluded.role, active = excluded.active
"""
_ACTIVE = "UPDATE memberships INDEXED BY members SET active = ? WHERE channel_id = ? AND until_seq = 0"
_ACTIVE_KEPT = 100_000
_ANY_NUMBER = 1 << 62


class _NotAppended(Exception):  # noqa: N818 - an outcome, not a malfunction
    """Carries an outcome out of the transaction, which undoes the batch."""

    def __init__(self, outcome: AppendOutcome) -> None:
        self.outcome = outcome


class SqliteChannelLog(ChannelLog):
    """The logs in SQLite. Batches of several channels that wait are written in one transaction.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._committed = 0
        # Up to where the members of a channel were told that it is active.
        self._active: dict[str, int] = {}

    async def ready(self) -> None:
        """See `ChannelLog.ready`."""
        await self._database.ready()

    async def append(self, batch: LogBatch) -> AppendOutcome:
        """See `ChannelLog.append`."""
        try:
            await self._database.write(lambda connection: self._append(connection, batch))
        except _NotAppended as refused:
            return refused.outcome
        if batch.entries:
            self._committed = max(self._committed, batch.entries[-1].position)
            if self._is_newly_active(batch):
                self._note_active(batch)
        return Appended()

    def _append(self, connection: sqlite3.Connection, batch: LogBatch) -> None:
        _append(connection, batch)
        if batch.entries and self._is_newly_active(batch):
            connection.execute(_ACTIVE, (batch.entries[-1].position, batch.channel_id))

    def _is_newly_active(self, batch: LogBatch) -> bool:
        return batch.entries[-1].position > self._active.get(batch.channel_id, -ACTIVE_WITHIN) + ACTIVE_WITHIN

    def _note_active(self, batch: LogBatch) -> None:
        if len(self._active) >= _ACTIVE_KEPT:
            # Without them, the members are told again.
            self._active.clear()
        self._active[batch.channel_id] = batch.entries[-1].position

    def batch_capacity(self, head_seq: int) -> int:
        """See `ChannelLog.batch_capacity`. A transaction takes any number of entries."""
        return _ANY_NUMBER

    async def load(self, channel_id: str) -> ChannelSnapshot | None:
        """See `ChannelLog.load`."""
        return await self._database.read(lambda connection: load_snapshot(connection, channel_id))

    async def message_with_changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        """See `ChannelLog.message_with_changes`."""

        def work(connection: sqlite3.Connection) -> Mapping[int, Sequence[LogEntry]]:
            found: dict[int, Sequence[LogEntry]] = {}
            # A seq comes from a client and may be larger than any that SQLite stores.
            for seq in (each for each in seqs if each <= _LARGEST_SEQ):
                message = connection.execute(
                    f"SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = ? AND seq = ? AND kind = ?",
                    (channel_id, seq, EntryKind.MESSAGE),
                ).fetchone()
                if message is not None:
                    changes = connection.execute(_WITH_TEXT, {"channel": channel_id, "seq": seq})
                    found[seq] = [log_entry(message), *map(log_entry, changes)]
            return found

        return await self._database.read(work)

    async def entries_at(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, LogEntry]:
        """See `ChannelLog.entries_at`."""

        def work(connection: sqlite3.Connection) -> Mapping[int, LogEntry]:
            statement = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE channel_id = ? AND seq = ?"
            rows = (connection.execute(statement, (channel_id, seq)).fetchone() for seq in seqs)
            return {row[0]: log_entry(row) for row in rows if row is not None}

        return await self._database.read(work)

    async def save_marks(self, channel_id: str, position: int, marks: Mapping[str, Marks]) -> None:
        """See `ChannelLog.save_marks`."""
        row = (channel_id, position, encode_marks(marks))
        await self._database.write(lambda connection: connection.execute("REPLACE INTO receipts VALUES (?, ?, ?)", row))

    async def committed_position(self) -> int:
        """See `ChannelLog.committed_position`."""
        if not self._committed:
            (found,) = await self._database.read(
                lambda connection: connection.execute("SELECT position FROM high_water").fetchone()
            )
            # A batch may have been appended in the meantime.
            self._committed = max(self._committed, found)
        return self._committed


def _append(connection: sqlite3.Connection, batch: LogBatch) -> None:
    """Write a batch with everything that follows from it, or raise `_NotAppended`."""
    channel_id, entries = batch.channel_id, batch.entries
    if batch.created is not None:
        record = batch.created
        made = connection.execute(
            "INSERT INTO channels VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (channel_id, record.kind, batch.title or "", record.created_at_ms),
        )
        if made.rowcount == 0:
            raise _NotAppended(HeadMoved())
    elif batch.title is not None:
        connection.execute("UPDATE channels SET title = ? WHERE channel_id = ?", (batch.title, channel_id))
    if entries:
        head = connection.execute(_HEAD, (channel_id,)).fetchone()
        if entries[0].seq != (head[0] if head else 0) + 1:
            raise _NotAppended(HeadMoved())
        _insert_sent(connection, channel_id, entries)
        connection.executemany(
            _INSERT_ENTRY,
            [
                (e.seq, e.position, e.kind, e.author_id, e.client_message_id, e.target_seq, e.body, channel_id)
                for e in entries
            ],
        )
        connection.execute("UPDATE high_water SET position = max(position, ?)", (entries[-1].position,))
    active = entries[-1].position if entries else 0
    for change in batch.members:
        connection.execute(
            _MEMBERSHIP,
            (channel_id, change.user_id, change.since_seq, change.until_seq, change.role, change.joined_at_ms, active),
        )
    for seq, body in batch.redactions:
        connection.execute(_REDACT, (body, channel_id, seq))
    if batch.wakes_push:
        connection.execute(
            "INSERT INTO pending_push VALUES (?, ?) ON CONFLICT DO NOTHING", (channel_id, entries[0].seq)
        )


def _insert_sent(connection: sqlite3.Connection, channel_id: str, entries: Sequence[LogEntry]) -> None:
    """Note the client message ids of a batch; raise `_NotAppended` when one of them is known already."""
    named = [e for e in entries if e.client_message_id]
    if not named:
        return
    rows = [(channel_id, e.author_id, e.client_message_id, e.seq, e.position) for e in named]
    if connection.executemany(_INSERT_SENT, rows).rowcount == len(rows):
        return
    first_results: dict[tuple[str, str], tuple[int, int]] = {}
    for _, author_id, client_message_id, seq, _ in rows:
        first = connection.execute(
            "SELECT seq, position FROM sent WHERE channel_id = ? AND author_id = ? AND client_message_id = ?",
            (channel_id, author_id, client_message_id),
        ).fetchone()
        if first[0] != seq:
            first_results[author_id, client_message_id] = first
    raise _NotAppended(AlreadySent(first_results))
