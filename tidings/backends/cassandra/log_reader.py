"""Reading the channels' logs in Cassandra: entries by number and by range, and the changes of messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from tidings.backends.cassandra.buckets import BUCKET, bucket_of, by_bucket
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.pages import stretches
from tidings.backends.rows import ENTRY_COLUMNS, log_entry
from tidings.core.ports import PageRequest
from tidings.core.values import EntryKind, LogEntry, SeqRange

_HEAD_BUCKET = Statement("SELECT head_bucket FROM channels WHERE channel_id = ?")
_ENTRIES = Statement(f"SELECT {ENTRY_COLUMNS} FROM log WHERE channel_id = ? AND bucket = ? AND seq IN ?")
_CHANGES = Statement("SELECT target_seq, seq FROM changes WHERE channel_id = ? AND bucket = ? AND target_seq IN ?")

_RANGE = f"SELECT {ENTRY_COLUMNS} FROM log WHERE channel_id = ? AND bucket = ? AND seq >= ? AND seq <= ?"
# Within one partition, of which a part is read anyway, leaving rows out is cheap.
_MESSAGES = f"{_RANGE} AND kind = {EntryKind.MESSAGE:d}"
_UP = Statement(f"{_RANGE} ORDER BY seq ASC LIMIT ?")
_DOWN = Statement(f"{_RANGE} ORDER BY seq DESC LIMIT ?")
_MESSAGES_UP = Statement(f"{_MESSAGES} ORDER BY seq ASC LIMIT ? ALLOW FILTERING")
_MESSAGES_DOWN = Statement(f"{_MESSAGES} ORDER BY seq DESC LIMIT ? ALLOW FILTERING")

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

    async def changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[int]]:
        """Read which entries may change some messages, by message, in order; `is_change` tells which of them do."""
        asked = [(channel_id, bucket, part) for bucket, part in by_bucket(seqs).items()]
        found: defaultdict[int, list[int]] = defaultdict(list)
        for target_seq, seq in await self._cassandra.execute_many(_CHANGES, asked):
            found[target_seq].append(seq)
        return found

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
            async for part in self._steps(statement, channel_id, first, last, upwards=page.upwards, limit=page.limit):
                yield part

    async def _steps(
        self, statement: Statement, channel_id: str, first: int, last: int, *, upwards: bool, limit: int
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
            size = sum(len(each.body) for each in found)
            if size:
                most = max(1, min(_MOST_ROWS, _ANSWER_BYTES * len(found) // size))


def is_change(found: LogEntry | None, target_seq: int) -> bool:
    """Tell whether an entry changes a message. The table of changes is written first, so the log has the last word."""
    return found is not None and found.target_seq == target_seq and target_seq > 0
