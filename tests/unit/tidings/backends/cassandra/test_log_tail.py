"""What an owner knows of a log in Cassandra, and which entries a replay has had: without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.backends.cassandra import log_tail as tail_module
from tidings.backends.cassandra.buckets import BUCKET, by_bucket
from tidings.backends.cassandra.log_tail import LogTail
from tidings.backends.cassandra.range_set import RangeSet
from tidings.core import positions
from tidings.core.values import AlreadySent, ChannelKind, ChannelRecord, EntryKind, LogBatch, LogEntry

NOW = 1_750_000_000_000
HOUR = 3600 * 1000


def _tail() -> LogTail:
    return LogTail(ChannelRecord("ga", ChannelKind.GROUP, NOW), 0)


def _batch(first: int, last: int, ms: int) -> LogBatch:
    return LogBatch(
        "ga",
        tuple(
            LogEntry(seq, positions.at(ms) + seq, EntryKind.MESSAGE, "ann", b"", f"m{seq}")
            for seq in range(first, last + 1)
        ),
    )


def _knows(tail: LogTail, seq: int) -> bool:
    resend = LogEntry(tail.head_seq + 1, 1 << 62, EntryKind.MESSAGE, "ann", b"", f"m{seq}")
    return isinstance(tail.check(LogBatch("ga", (resend,))), AlreadySent)


def test_what_was_sent_is_known_for_a_day() -> None:
    tail = _tail()
    tail.add(_batch(1, BUCKET, NOW))
    tail.add(_batch(BUCKET + 1, BUCKET + 1, NOW + 24 * HOUR))
    assert _knows(tail, 1)
    tail.add(_batch(BUCKET + 2, BUCKET + 2, NOW + 26 * HOUR))
    assert not _knows(tail, 1) and not _knows(tail, BUCKET)
    assert len(tail.sent) == 2


def test_what_is_in_the_open_partition_is_known_however_old() -> None:
    tail = _tail()
    tail.add(_batch(1, 1, NOW))
    tail.add(_batch(2, 2, NOW + 1000 * HOUR))
    assert _knows(tail, 1)


def test_only_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "MOST_SENT", BUCKET + 5)
    tail = _tail()
    tail.add(_batch(1, BUCKET, NOW))
    tail.add(_batch(BUCKET + 1, BUCKET + 10, NOW))
    assert not _knows(tail, 5)
    assert _knows(tail, 6)


def test_a_repeat_within_what_is_new_names_the_repeats_only() -> None:
    tail = _tail()
    tail.add(_batch(1, 2, NOW))
    batch = _batch(3, 4, NOW)
    repeat = LogEntry(5, 9, EntryKind.MESSAGE, "ann", b"", "m2")
    assert tail.check(batch) is None
    refusal = tail.check(LogBatch("ga", (*batch.entries, repeat)))
    assert refusal == AlreadySent({("ann", "m2"): (2, positions.at(NOW) + 2)})


def test_numbers_that_no_entry_can_have_are_in_no_partition() -> None:
    assert by_bucket([1, 1000, 1001, 0, 2**63, 2**64 - 1]) == {0: [1, 1000], 1: [1001]}


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12)), max_size=25))
def test_ranges_are_seen_once_as_numbers_in_a_set_are(added: list[tuple[int, int]]) -> None:
    ranges, numbers = RangeSet(), set[int]()
    for first, more in added:
        new = [number for begin, end in ranges.add(first, first + more) for number in range(begin, end + 1)]
        assert new == sorted(set(range(first, first + more + 1)) - numbers)
        numbers.update(new)
    assert [number for begin, end in ranges.ranges for number in range(begin, end + 1)] == sorted(numbers)
    assert all(one[1] + 1 < other[0] for one, other in zip(ranges.ranges, ranges.ranges[1:], strict=False))
