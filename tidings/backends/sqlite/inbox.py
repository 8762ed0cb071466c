"""The inboxes in SQLite, as a view of the logs: one database holds everything, so no copies are written."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from tidings.backends.rows import decode_marks
from tidings.backends.sqlite.channel_rows import ACTIVE_WITHIN
from tidings.backends.sqlite.database import Database
from tidings.core.ports import Inbox, InboxCopy, Replay, ReplayChunk
from tidings.core.values import Marks

_CHUNK_EVENTS = 1_000
_CHUNK_BYTES = 256 << 10

_LARGEST_SEQ = (1 << 63) - 1
# One statement finds the last entry that the user sees of each stay, and leaves out what has nothing new: most of it by
# the index.
_ACTIVE_STAYS = """
SELECT channel_id, since_seq, until_seq FROM memberships INDEXED BY {index}
WHERE user_id = :user AND until_seq {until} AND active > :after - :within
"""
_STAYS = f"""
SELECT m.channel_id, m.since_seq, e.seq
FROM (
    {_ACTIVE_STAYS.format(index="channels_of_user", until="= 0")}
    UNION ALL {_ACTIVE_STAYS.format(index="past_stays_of_user", until="> 0")}
) m CROSS JOIN entries e
    ON e.channel_id = m.channel_id AND e.seq = (
        SELECT max(seq) FROM entries
        WHERE channel_id = m.channel_id AND seq BETWEEN m.since_seq AND iif(m.until_seq, m.until_seq, {_LARGEST_SEQ})
    )
WHERE e.position > :after
"""
_POSITION = "SELECT position FROM entries WHERE channel_id = ? AND seq = ?"
_ROWS = "SELECT seq, position, body FROM entries WHERE channel_id = ? AND seq BETWEEN ? AND ? ORDER BY seq"
_RECEIPTS = """
SELECT r.channel_id, r.marks
FROM memberships m INDEXED BY channels_of_user CROSS JOIN receipts r ON r.channel_id = m.channel_id
WHERE m.user_id = ? AND m.until_seq = 0 AND r.position > ?
"""


class _Stretch(NamedTuple):
    """Unseen entries of one channel, from one stay of the user in it. The first entry decides the order."""

    position: int
    """Of the first entry."""
    channel_id: str
    first_seq: int
    last_seq: int


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
                channel_id: decode_marks(marks) for channel_id, marks in connection.execute(_RECEIPTS, (user_id, after))
            }
        )


class _SqliteReplay(Replay):
    """A replay of stretches of the logs, merged by position."""

    def __init__(self, database: Database, stretches: list[_Stretch], upto: int) -> None:
        self._database = database
        self._heap = stretches
        heapq.heapify(self._heap)
        self._upto = upto
        self.first_position = stretches[0].position if stretches else 0

    async def chunks(self) -> AsyncIterator[ReplayChunk]:
        """See `Replay.chunks`."""
        while self._heap:
            yield await self._database.read(self._next_chunk)

    def _next_chunk(self, connection: sqlite3.Connection) -> ReplayChunk:
        """Read the next chunk. Stretches that have nothing in it are not looked at, however many there are."""
        heap = self._heap
        reading: dict[tuple[str, int], Iterator[tuple[int, int, bytes]]] = {}
        bodies: dict[tuple[str, int], bytes] = {}
        events: list[bytes] = []
        heads: dict[str, tuple[int, int]] = {}
        size = position = 0
        while heap and len(events) < _CHUNK_EVENTS and size < _CHUNK_BYTES:
            position, channel_id, seq, last_seq = heap[0]
            key = channel_id, last_seq
            if key not in reading:
                reading[key] = connection.execute(_ROWS, (channel_id, seq, last_seq))
                _, _, bodies[key] = next(reading[key])
            events.append(bodies[key])
            size += len(bodies[key])
            heads[channel_id] = position, seq
            following = next(reading[key], None)
            if following is None or following[1] > self._upto:
                heapq.heappop(heap)
            else:
                next_seq, next_position, bodies[key] = following
                heapq.heapreplace(heap, _Stretch(next_position, channel_id, next_seq, last_seq))
        return ReplayChunk(events, position, heads)


def _stretches(connection: sqlite3.Connection, user_id: str, after: int, upto: int) -> list[_Stretch]:
    """Find the entries that a user has not seen: one stretch for each stay in a channel with any."""
    found = []
    asked = {"user": user_id, "after": after, "within": ACTIVE_WITHIN}
    for channel_id, since_seq, last_seq in connection.execute(_STAYS, asked).fetchall():
        first_seq, position = _first_beyond(connection, channel_id, since_seq, last_seq, after)
        if position <= upto:
            found.append(_Stretch(position, channel_id, first_seq, last_seq))
    return found


def _first_beyond(connection: sqlite3.Connection, channel_id: str, low: int, high: int, after: int) -> tuple[int, int]:
    """Find the first entry from `low` to `high` whose position is beyond `after`, with its position.

    Positions grow with seq, so this is a bisection. The first try is the lowest: a new device has seen nothing.
    """

    def position_at(seq: int) -> int:
        return int(connection.execute(_POSITION, (channel_id, seq)).fetchone()[0])

    middle = low
    while low < high:
        if position_at(middle) > after:
            high = middle
        else:
            low = middle + 1
        middle = (low + high) // 2
    return low, position_at(low)
