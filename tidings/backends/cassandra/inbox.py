"""The inboxes in Cassandra: copies of small events and references to large ones, one partition for a user and day.

A row stands at the position of its first event. A row that is written much later, by a server that takes a channel
over, stands at the time of writing, where a device finds it whose cursor has gone on since. A replay begins
`OVERLAP_MS` before the cursor, so that it does not miss a row that was still being written when a later one was read. A
device drops the events that it has already, by seq.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cassandra.query import UNSET_VALUE

from tidings.backends.cassandra.buckets import bucket_of
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.backends.cassandra.log_reader import LogReader
from tidings.backends.cassandra.memberships import channels_with
from tidings.backends.cassandra.range_set import RangeSet
from tidings.backends.rows import decode_marks
from tidings.core import positions
from tidings.core.clock import Clock
from tidings.core.errors import unavailable
from tidings.core.framing import frame, split_frames
from tidings.core.ports import Inbox, InboxCopy, Replay, ReplayChunk
from tidings.core.reasons import Reason
from tidings.core.values import EntryKind, LogEntry, Marks

OVERLAP_MS = 60_000
"""How far before the cursor a replay begins."""
AHEAD_MS = 60_000
"""How far beyond its end a replay goes, because the clock of the server that gave out a position may be ahead."""

# A row that is written later than this comes from a takeover. This and the time of a write are less than the overlap.
_LATE_MS = 15_000
_WRITE_SECONDS = 30.0
_DAY_MS = 24 * 3600 * 1000
# Rows are kept a little longer than promised, so that none expires while it is replayed.
_EXPIRES_LATER_DAYS = 1

# Larger events are read from the log, which costs less than a hundred copies of them.
_COPY_BYTES = 4 << 10
# Rows that are made of several batches stay below this, so that a request for two of them stays below what Cassandra
# warns of.
_MERGED_BYTES = 2 << 10
# Writing to several partitions in one request is several times as cheap as a request for each. Beyond these bounds
# Cassandra warns of it.
_REQUEST_PARTITIONS = 10
_REQUEST_BYTES = 4 << 10
_ROW_BYTES = 100
_MERGED_MS = 5_000
_CHUNK_EVENTS = 1_000
_CHUNK_BYTES = 256 << 10
_PAGE_ROWS = 250
# A message may have any number of changes, of which the latest alone tells.
_CHANGES_READ = 50
_TOGETHER = 50

_PUT = Statement(
    "INSERT INTO inbox (user_id, day, position, channel_id, first_seq, last_seq, first_position, last_position,"
    " targets, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
_ROWS = (
    "SELECT position, channel_id, first_seq, last_seq, first_position, last_position, targets, events"
    " FROM inbox WHERE user_id = ? AND day = ?"
)
_PAGE = Statement(f"{_ROWS} AND (position, channel_id, first_seq) > (?, ?, ?) AND (position) <= (?) LIMIT {_PAGE_ROWS}")
_FIRST_STAY = Statement("SELECT min(joined_at_ms) FROM memberships_of_user WHERE user_id = ?")
_RECEIPTS = Statement("SELECT channel_id, position, marks FROM receipts WHERE channel_id IN ?")
_CHANGES = Statement(
    "SELECT channel_id, target_seq, seq, kind FROM changes WHERE channel_id IN ? AND bucket = ?"
    f" PER PARTITION LIMIT {_CHANGES_READ}"
)
# Of the partitions that have more. Cassandra warns of asking several of them in this way.
_LATEST_CHANGES = Statement(
    "SELECT channel_id, target_seq, max(seq), max(kind) FROM changes WHERE channel_id = ? AND bucket = ?"
    " GROUP BY target_seq"
)


@dataclass(frozen=True, slots=True)
class _InboxRow:
    """A row of an inbox: consecutive events of one channel, without their bytes when these are large."""

    position: int
    channel_id: str
    first_seq: int
    last_seq: int
    first_position: int
    last_position: int
    targets: Sequence[int] | None
    events: bytes | None

    @property
    def key(self) -> tuple[int, str, int]:
        return self.position, self.channel_id, self.first_seq


class CassandraInbox(Inbox):
    """The inboxes in Cassandra.

    Args:
        cassandra: The storage.
        clock: Tells the time.
        keeps_days: For how many days copies are kept.
    """

    def __init__(self, cassandra: CassandraClient, clock: Clock, keeps_days: int = 30) -> None:
        self._cassandra = cassandra
        self._clock = clock
        self._keeps_ms = (keeps_days + _EXPIRES_LATER_DAYS) * _DAY_MS
        self._reader = LogReader(cassandra)

    async def put(self, copies: Sequence[InboxCopy]) -> None:
        """See `Inbox.put`. The rows of one user are one write, and one request holds the writes of several users.

        Copies of one event differ in the user alone, so the rest is encoded once. Ten rows take 17 us to make, not 62.
        """
        ttl = self._keeps_ms // 1000
        rows: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
        for copy in merged(copies):
            position, *values = self._values(copy)
            day = _day(position)
            _, *rest = await self._cassandra.encode(_PUT, ("", day, position, *values, ttl))
            for user_id in copy.user_ids:
                rows[user_id, day].append((user_id.encode(), *rest))
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await asyncio.gather(*map(self._write, _requests(rows.values())))
        except TimeoutError as error:
            raise unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE) from error

    async def replay(self, user_id: str, after: int, upto: int) -> Replay:
        """See `Inbox.replay`."""
        now_ms = self._clock.now_ms()
        kept_since_ms = now_ms - self._keeps_ms
        if positions.time_ms(after) < kept_since_ms:
            ((first_stay_ms,),) = await self._cassandra.execute(_FIRST_STAY, (user_id,))
            if first_stay_ms is not None and first_stay_ms < kept_since_ms:
                return _Expired(after)
        begin_ms = max(positions.time_ms(after) - OVERLAP_MS, kept_since_ms)
        end_ms = min(positions.time_ms(upto), now_ms) + AHEAD_MS
        replay = _CassandraReplay(
            self._cassandra,
            self._reader,
            user_id,
            max(after - positions.at(positions.EPOCH_MS + OVERLAP_MS), 0),
            min(upto + positions.at(positions.EPOCH_MS + AHEAD_MS), (1 << 63) - 1),
            range(begin_ms // _DAY_MS, end_ms // _DAY_MS + 1),
        )
        await replay.begin()
        return replay

    async def receipts_since(self, user_id: str, after: int) -> Mapping[str, Mapping[str, Marks]]:
        """See `Inbox.receipts_since`."""
        present = await channels_with(self._cassandra, user_id)
        asked = [(present[at : at + _TOGETHER],) for at in range(0, len(present), _TOGETHER)]
        rows = await self._cassandra.execute_many(_RECEIPTS, asked)
        return {channel_id: decode_marks(marks) for channel_id, position, marks in rows if position > after}

    def _values(self, copy: InboxCopy) -> Row:
        """Return the values of a row but the user and the day, which come first, and the TTL, which comes last."""
        entries = copy.entries
        first, last = entries[0], entries[-1]
        now_ms = self._clock.now_ms()
        is_late = now_ms - positions.time_ms(first.position) > _LATE_MS
        targets = [each.target_seq for each in entries if each.target_seq]
        size = sum(len(each.body) for each in entries)
        return (
            positions.at(now_ms) if is_late else first.position,
            copy.channel_id,
            first.seq,
            last.seq,
            first.position,
            last.position,
            targets or UNSET_VALUE,
            b"".join([frame(each.body) for each in entries]) if size <= _COPY_BYTES else UNSET_VALUE,
        )

    async def _write(self, rows: Sequence[Row]) -> None:
        await self._cassandra.write_encoded(_PUT, rows)


def merged(copies: Iterable[InboxCopy]) -> Sequence[InboxCopy]:
    """Merge batches of a channel that follow one another and go to the same users, as long as they are small."""
    result: list[InboxCopy] = []
    latest: dict[str, int] = {}
    for copy in copies:
        at = latest.get(copy.channel_id)
        if at is not None and _follows(result[at], copy):
            result[at] = dataclasses.replace(copy, entries=[*result[at].entries, *copy.entries])
        else:
            latest[copy.channel_id] = len(result)
            result.append(copy)
    return result


def _follows(copy: InboxCopy, following: InboxCopy) -> bool:
    first, last, after = copy.entries[0], copy.entries[-1], following.entries[0]
    return (
        after.seq == last.seq + 1
        and positions.time_ms(following.entries[-1].position) - positions.time_ms(first.position) < _MERGED_MS
        and sum(len(each.body) for each in (*copy.entries, *following.entries)) <= _MERGED_BYTES
        and set(copy.user_ids) == set(following.user_ids)
    )


def _requests(partitions: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
    """Group rows of several partitions into as few requests as Cassandra takes without a warning."""
    request: list[Row] = []
    together = size = 0
    for rows in partitions:
        added = sum(_ROW_BYTES + (len(row[-2]) if row[-2] is not UNSET_VALUE else 0) for row in rows)
        if together and (together == _REQUEST_PARTITIONS or size + added > _REQUEST_BYTES):
            yield request
            request, together, size = [], 0, 0
        request += rows
        together += 1
        size += added
    if request:
        yield request


class _Expired(Replay):
    """A replay from so far back that some of its rows may have expired: the device has to begin anew."""

    def __init__(self, after: int) -> None:
        self.first_position = after + 1

    async def chunks(self) -> AsyncIterator[ReplayChunk]:
        """See `Replay.chunks`. It yields nothing, because the rows that are left would have gaps."""
        return
        yield


class _CassandraReplay(Replay):
    """A replay of the rows of an inbox, page by page."""

    def __init__(
        self, cassandra: CassandraClient, reader: LogReader, user_id: str, after: int, upto: int, days: range
    ) -> None:
        self._cassandra = cassandra
        self._reader = reader
        self._user_id = user_id
        self._days = days
        # The key of the row after which the next page begins. This one is beyond every row at its position.
        self._after: tuple[int, str, int] = (after, "\uffff", 0)
        self._upto = upto
        self._first_page: Sequence[_InboxRow] = ()
        self._seen: defaultdict[str, RangeSet] = defaultdict(RangeSet)
        self.first_position = 0

    async def begin(self) -> None:
        """Read the first page."""
        self._first_page = await self._next_page()
        self.first_position = min((each.first_position for each in self._first_page), default=0)

    async def chunks(self) -> AsyncIterator[ReplayChunk]:
        """See `Replay.chunks`."""
        page, self._first_page = self._first_page, ()
        chunk = _Chunk()
        while page:
            renewed = await self._renewed(page)
            # By the position of their events: a row that was written late stands behind its successors.
            for row in sorted(page, key=lambda each: each.first_position):
                for first, last in self._seen[row.channel_id].add(row.first_seq, row.last_seq):
                    async for item in self._items(row, first, last, renewed):
                        chunk.add(row.channel_id, *item)
                        if chunk.is_full:
                            yield chunk.closed()
                            chunk = _Chunk()
            page = await self._next_page()
        if chunk.events:
            yield chunk.closed()

    async def _next_page(self) -> Sequence[_InboxRow]:
        while self._days:
            values = self._user_id, self._days[0], *self._after, self._upto
            rows = [_InboxRow(*row) for row in await self._cassandra.execute(_PAGE, values)]
            if len(rows) < _PAGE_ROWS:
                self._days = self._days[1:]
            if rows:
                self._after = rows[-1].key
                return rows
        return ()

    async def _items(
        self, row: _InboxRow, first: int, last: int, renewed: Mapping[tuple[str, int], LogEntry]
    ) -> AsyncIterator[tuple[Sequence[bytes], int, int]]:
        """Yield the events of a row from `first` to `last`, with the last position and seq among them."""
        if (row.channel_id, last) in renewed:
            for entry in (renewed[row.channel_id, seq] for seq in range(first, last + 1)):
                yield [entry.body], entry.position, entry.seq
        elif row.events is None:
            for entry in await self._reader.range(row.channel_id, first, last):
                yield [entry.body], entry.position, entry.seq
        else:
            events = list(split_frames(row.events))
            yield events[first - row.first_seq :][: last - first + 1], row.last_position, last

    async def _renewed(self, page: Iterable[_InboxRow]) -> Mapping[tuple[str, int], LogEntry]:
        """Read the events of those rows from the log in which a text may have left it since they were copied."""
        wanted: defaultdict[int, set[str]] = defaultdict(set)
        for row in page:
            seqs = row.first_seq, row.last_seq, *(row.targets or ())
            for bucket in {bucket_of(seq) for seq in seqs}:
                wanted[bucket].add(row.channel_id)
        asked = [
            (ids[at : at + _TOGETHER], bucket)
            for bucket, channel_ids in wanted.items()
            for ids in [list(channel_ids)]
            for at in range(0, len(ids), _TOGETHER)
        ]
        latest: dict[tuple[str, int], int] = {}
        deleted: defaultdict[str, set[int]] = defaultdict(set)
        rows = await self._cassandra.execute_many(_CHANGES, asked)
        together = Counter((channel_id, bucket_of(target_seq)) for channel_id, target_seq, *_ in rows)
        long = [partition for partition, number in together.items() if number == _CHANGES_READ]
        for channel_id, target_seq, seq, kind in rows + await self._cassandra.execute_many(_LATEST_CHANGES, long):
            latest[channel_id, target_seq] = max(seq, latest.get((channel_id, target_seq), 0))
            if kind == EntryKind.DELETION:
                deleted[channel_id].add(target_seq)
        stale: defaultdict[str, list[int]] = defaultdict(list)
        for row in page:
            # A single large event is small once its text is gone; several are read when it is their turn.
            is_small = row.events is not None or row.first_seq == row.last_seq
            if is_small and _is_stale(row, latest, deleted[row.channel_id]):
                stale[row.channel_id] += range(row.first_seq, row.last_seq + 1)
        found = await asyncio.gather(*(self._reader.entries(*each) for each in stale.items()))
        return {
            (channel_id, seq): entry
            for channel_id, entries in zip(stale, found, strict=True)
            for seq, entry in entries.items()
        }


def _is_stale(row: _InboxRow, latest: Mapping[tuple[str, int], int], deleted: Collection[int]) -> bool:
    """Tell whether a text of a row may have left the log: of a deleted message, or of an edit that is not the latest.

    Args:
        row: The row.
        latest: The latest change of each message, by channel and message.
        deleted: The deleted messages of the row's channel.
    """
    targets = row.targets or ()
    return (
        len(set(targets)) < len(targets)
        or any(latest.get((row.channel_id, each), 0) > row.last_seq for each in targets)
        or any(row.first_seq <= seq <= row.last_seq or seq in targets for seq in deleted)
    )


class _Chunk:
    """Gathers the events of a `ReplayChunk`."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._heads: dict[str, tuple[int, int]] = {}
        self._size = 0

    @property
    def is_full(self) -> bool:
        return len(self.events) >= _CHUNK_EVENTS or self._size >= _CHUNK_BYTES

    def add(self, channel_id: str, events: Sequence[bytes], position: int, seq: int) -> None:
        self.events += events
        self._size += sum(map(len, events))
        self._heads[channel_id] = max(self._heads.get(channel_id, (0, 0)), (position, seq))

    def closed(self) -> ReplayChunk:
        return ReplayChunk(self.events, max(position for position, _ in self._heads.values()), self._heads)


def _day(position: int) -> int:
    return positions.time_ms(position) // _DAY_MS
