"""The inboxes in SQLite, as a view of the logs: one database holds everything, so no copies are written."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidings.backends.rows import decode_marks
from tidings.backends.sqlite.database import Database
from tidings.core.ports import Inbox, InboxCopy, Replay, ReplayChunk
from tidings.core.values import Marks

_CHUNK_EVENTS = 1_000
_CHUNK_BYTES = 256 << 10


@dataclass(slots=True)
class _Stretch:
    """Unseen entries of one channel, from one stay of the user in it."""

    channel_id: str
    next_seq: int
    last_seq: int
    first_position: int


class SqliteInbox(Inbox):
    """The inboxes in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, copies: Sequence[InboxCopy]) -> None:
        """See `Inbox.put`. Nothing is to be done, because the logs have all entries."""

    async def replay(self, user_id: str, after: int, upto: int) -> Replay:
        """See `Inbox.replay`."""
        stretches = await self._database.read(lambda connection: _stretches(connection, user_id, after, upto))
        return _SqliteReplay(self._database, stretches, upto)

    async def receipts_since(self, user_id: str, after: int) -> Mapping[str, Mapping[str, Marks]]:
        """See `Inbox.receipts_since`."""
        return await self._database.read(
            lambda connection: {
                channel_id: decode_marks(marks)
                for channel_id, marks in connection.execute(
                    "SELECT r.channel_id, r.marks FROM memberships m JOIN receipts r USING (channel_id)"
                    " WHERE m.user_id = ? AND m.until_seq = 0 AND r.position > ?",
                    (user_id, after),
                )
            }
        )


class _SqliteReplay(Replay):
    """A replay of stretches of the logs, merged by position."""

    def __init__(self, database: Database, stretches: list[_Stretch], upto: int) -> None:
        self._database = database
        self._stretches = stretches
        self._upto = upto
        self.first_position = min((each.first_position for each in stretches), default=0)

    async def chunks(self) -> AsyncIterator[ReplayChunk]:
        """See `Replay.chunks`."""
        while self._stretches:
            chunk = await self._database.read(self._next_chunk)
            if chunk.events:
                yield chunk

    def _next_chunk(self, connection: sqlite3.Connection) -> ReplayChunk:
        """Read the next chunk, and advance the stretches beyond it."""
        by_channel = {(each.channel_id, each.last_seq): each for each in self._stretches}
        events: list[bytes] = []
        heads: dict[str, tuple[int, int]] = {}
        size = 0
        position = 0
        rows = heapq.merge(*(self._rows(connection, each) for each in self._stretches))
        for position, channel_id, seq, last_seq, body in rows:
            events.append(body)
            size += len(body)
            heads[channel_id] = position, seq
            by_channel[channel_id, last_seq].next_seq = seq + 1
            if len(events) >= _CHUNK_EVENTS or size >= _CHUNK_BYTES:
                break
        else:
            self._stretches = []
        return ReplayChunk(events, position, heads)

    def _rows(self, connection: sqlite3.Connection, stretch: _Stretch) -> Iterator[tuple[int, str, int, int, bytes]]:
        rows = connection.execute(
            "SELECT position, seq, body FROM entries WHERE channel_id = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (stretch.channel_id, stretch.next_seq, stretch.last_seq),
        )
        for position, seq, body in rows:
            if position > self._upto:
                return
            yield position, stretch.channel_id, seq, stretch.last_seq, body


def _stretches(connection: sqlite3.Connection, user_id: str, after: int, upto: int) -> list[_Stretch]:
    """Find the entries that a user has not seen: one stretch for each stay in a channel with any."""
    found = []
    stays = connection.execute(
        "SELECT channel_id, since_seq, until_seq FROM memberships WHERE user_id = ?", (user_id,)
    ).fetchall()
    for channel_id, since_seq, until_seq in stays:
        until = "AND seq <= ?3" if until_seq else ""
        last = connection.execute(
            f"SELECT seq, position FROM entries WHERE channel_id = ?1 AND seq >= ?2 {until} ORDER BY seq DESC LIMIT 1",
            (channel_id, since_seq, until_seq) if until_seq else (channel_id, since_seq),
        ).fetchone()
        if last is None or last[1] <= after:
            continue
        first_seq, first_position = _first_beyond(connection, channel_id, since_seq, last[0], after)
        if first_position <= upto:
            found.append(_Stretch(channel_id, first_seq, last[0], first_position))
    return found


def _first_beyond(connection: sqlite3.Connection, channel_id: str, low: int, high: int, after: int) -> tuple[int, int]:
    """Find the first entry from `low` to `high` whose position is beyond `after`, with its position.

    Positions grow with seq, so this is a bisection.
    """

    def position_at(seq: int) -> int:
        row = connection.execute("SELECT position FROM entries WHERE channel_id = ? AND seq = ?", (channel_id, seq))
        return int(row.fetchone()[0])

    while low < high:
        middle = (low + high) // 2
        if position_at(middle) > after:
            high = middle
        else:
            low = middle + 1
    return low, position_at(low)
