"""Reading the channels' logs in Cassandra: entries by number and by range, and the changes of messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from tidings.backends.cassandra.buckets import BUCKET, bucket_of, by_bucket
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.pages import stretches
from tidings.backends.rows import ENTRY_COLUMNS, log_entry
from tidings.core.ports import PageRequest
from tidings.core.values import EntryKind, LogEntry, SeqRange

_HEAD_BUCKET = Statement("SELECT head_bucket FROM channels WHERE channel_id = ?")
_ENTRIES = Statement(f"SELECT {ENTRY_COLUMNS} FROM log WHERE channel_id = ? AND bucket = ? AND seq IN ?")
_LATEST_CHANGES = Statement(
    "SELECT target_seq, max(seq) FROM changes WHERE channel_id = ? AND bucket = ? AND target_seq IN ?"
    " GROUP BY target_seq"
)
_CHANGES_DOWN = Statement(
    "SELECT seq, kept FROM changes WHERE channel_id = ? AND bucket = ? AND target_seq = ? AND seq >= ? AND seq <= ?"
    " ORDER BY target_seq DESC, seq DESC LIMIT ?"
)

_RANGE = f"SELECT {ENTRY_COLUMNS} FROM log WHERE channel_id = ? AND bucket = ? AND seq >= ? AND seq <= ?"
# Within one partition, of which a part is read anyway, leaving rows out is cheap.
_MESSAGES = f"{_RANGE} AND kind = {EntryKind.MESSAGE:d}"
_UP = Statement(f"{_RANGE} ORDER BY seq ASC LIMIT ?")
_DOWN = Statement(f"{_RANGE} ORDER BY seq DESC LIMIT ?")
_MESSAGES_UP = Statement(f"{_MESSAGES} ORDER BY seq ASC LIMIT ? ALLOW FILTERING")
_MESSAGES_DOWN = Statement(f"{_MESSAGES} ORDER BY seq DESC LIMIT ? ALLOW FILTERING")
_BUCKETS_WITH_MESSAGES = Statement(
    "SELECT bucket FROM log WHERE channel_id = ? AND bucket IN ?"
    f" AND kind = {EntryKind.MESSAGE:d} PER PARTITION LIMIT 1 ALLOW FILTERING"
)
# How many partitions are looked through for messages at once, when one has none.
_LOOKED_THROUGH = 32
# How many changes of a message are read at once: mostly the first is in the log.
_CHANGES_READ = 3
_LARGEST_SEQ = (1 << 63) - 1
_ANY_NUMBER = (1 << 31) - 1

# A text may have 400 kB. So the first answer has few entries, and each next one as many as fit, going by the size of
# those before.
_FIRST_ROWS = 50
_MOST_ROWS = 200
_ANSWER_BYTES = 2 << 20


class LogReader:
    """Reads the logs, for all ports that need entries.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra

    async def entries(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, LogEntry]:
        """Read some entries; those that do not exist are left out."""
        asked = [(channel_id, bucket, part) for bucket, part in by_bucket(seqs).items()]
        return {row[0]: log_entry(row) for row in await self._cassandra.execute_many(_ENTRIES, asked)}

    async def range(self, channel_id: str, first: int, last: int) -> Sequence[LogEntry]:
        """Read the entries from `first` to `last`, which must not be many."""
        steps = self._steps(_UP, channel_id, first, last, upwards=True, limit=last - first + 1)
        return [each for part in [part async for part in steps] for each in part]

    async def latest_changes(
        self, channel_id: str, seqs: Collection[int], ranges: Sequence[SeqRange]
    ) -> Mapping[int, LogEntry]:
        """Read the latest change of each message within the ranges; messages without one are left out."""
        asked = [(channel_id, bucket, part) for bucket, part in by_bucket(seqs).items()]
        candidates: dict[int, int] = dict(await self._cassandra.execute_many(_LATEST_CHANGES, asked))
        seen = [seq for seq in candidates.values() if any(seq in each for each in ranges)]
        found = await self.entries(channel_id, seen)
        latest = {target: found[seq] for target, seq in candidates.items() if is_change(found.get(seq), target)}
        others = [target for target in candidates if target not in latest]
        changes = await asyncio.gather(*(self._latest_change(channel_id, each, ranges) for each in others))
        return latest | {target: each[0] for target, each in zip(others, changes, strict=True) if each is not None}

    async def changes_with_text(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        """Read the changes of some messages that may have their text, by message, in order."""
        asked = [seq for part in by_bucket(seqs).values() for seq in part]
        found = await asyncio.gather(*(self._changes_with_text(channel_id, each) for each in asked))
        return dict(zip(asked, found, strict=True))

    async def _changes_with_text(self, channel_id: str, target_seq: int) -> Sequence[LogEntry]:
        latest = await self._latest_change(channel_id, target_seq, [SeqRange(1)])
        if latest is None:
            return ()
        change, kept = latest
        if kept is None:
            asked = channel_id, bucket_of(target_seq), target_seq, 1, change.seq - 1, _ANY_NUMBER
            kept = [seq for seq, _ in await self._cassandra.execute(_CHANGES_DOWN, asked)]
        earlier = await self.entries(channel_id, kept)
        return [*(earlier[seq] for seq in sorted(earlier) if is_change(earlier[seq], target_seq)), change]

    async def _latest_change(
        self, channel_id: str, target_seq: int, ranges: Sequence[SeqRange]
    ) -> tuple[LogEntry, Sequence[int] | None] | None:
        """Read the latest change of a message within the ranges, and which earlier ones it leaves their text.

        The table of changes is written before the log, so some of what it names may not be there.
        """
        for each in reversed(ranges):
            last = each.last or _LARGEST_SEQ
            while each.first <= last:
                asked = channel_id, bucket_of(target_seq), target_seq, each.first, last, _CHANGES_READ
                rows = await self._cassandra.execute(_CHANGES_DOWN, asked)
                for seq, kept in rows:
                    change = (await self.entries(channel_id, [seq])).get(seq)
                    if change is not None and is_change(change, target_seq):
                        return change, kept
                if len(rows) < _CHANGES_READ:
                    break
                last = rows[-1][0] - 1
        return None

    async def walk(
        self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest, messages_only: bool = False
    ) -> AsyncIterator[Sequence[LogEntry]]:
        """Yield the entries that a page may hold, nearest first, some at a time.

        Args:
            channel_id: The channel.
            ranges: The entries that may be seen.
            page: The page.
            messages_only: Whether to leave out all entries but messages.
        """
        rows = await self._cassandra.execute(_HEAD_BUCKET, (channel_id,))
        if not rows:
            return
        end = (rows[0][0] + 1) * BUCKET
        statement = (
            (_MESSAGES_UP if messages_only else _UP) if page.upwards else (_MESSAGES_DOWN if messages_only else _DOWN)
        )
        for first, last in stretches(ranges, page, end):
            steps = self._steps(
                statement,
                channel_id,
                first,
                last,
                upwards=page.upwards,
                limit=page.limit,
                messages_only=messages_only,
            )
            async for part in steps:
                yield part

    async def _steps(
        self,
        statement: Statement,
        channel_id: str,
        first: int,
        last: int,
        *,
        upwards: bool,
        limit: int,
        messages_only: bool = False,
    ) -> AsyncIterator[Sequence[LogEntry]]:
        """Yield the entries from `first` to `last` in answers of bounded size, each from one partition."""
        most = min(limit, _FIRST_ROWS)
        while first <= last:
            bucket = bucket_of(first if upwards else last)
            low, high = max(first, bucket * BUCKET + 1), min(last, (bucket + 1) * BUCKET)
            found = [
                log_entry(row)
                for row in await self._cassandra.execute(statement, (channel_id, bucket, low, high, most))
            ]
            if found:
                yield found
            # When there are fewer than asked for, this partition has no more.
            if upwards:
                first = found[-1].seq + 1 if len(found) == most else high + 1
            else:
                last = found[-1].seq - 1 if len(found) == most else low - 1
            if messages_only and not found:
                first, last = await self._past_other_kinds(channel_id, first, last, upwards)
            size = sum(len(each.body) for each in found)
            if size:
                most = max(1, min(_MOST_ROWS, _ANSWER_BYTES * len(found) // size))

    async def _past_other_kinds(self, channel_id: str, first: int, last: int, upwards: bool) -> tuple[int, int]:
        """Narrow a range at the end where it begins to be read, past partitions without a message."""
        while first <= last:
            low, high = bucket_of(first), bucket_of(last)
            if upwards:
                high = min(high, low + _LOOKED_THROUGH - 1)
            else:
                low = max(low, high - _LOOKED_THROUGH + 1)
            asked = channel_id, list(range(low, high + 1))
            found = [bucket for (bucket,) in await self._cassandra.execute(_BUCKETS_WITH_MESSAGES, asked)]
            if found and upwards:
                return max(first, min(found) * BUCKET + 1), last
            if found:
                return first, min(last, (max(found) + 1) * BUCKET)
            first, last = ((high + 1) * BUCKET + 1, last) if upwards else (first, low * BUCKET)
        return first, last


def is_change(found: LogEntry | None, target_seq: int) -> bool:
    """Tell whether an entry changes a message. The table of changes is written first, so the log has the last word."""
    return found is not None and found.target_seq == target_seq and target_seq > 0
