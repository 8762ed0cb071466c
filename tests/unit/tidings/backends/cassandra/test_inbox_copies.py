"""Which copies make one row of an inbox in Cassandra."""

from __future__ import annotations

from collections.abc import Collection

from tidings.backends.cassandra.inbox import merged
from tidings.core import positions
from tidings.core.ports import InboxCopy
from tidings.core.values import EntryKind, LogEntry

START_MS = positions.EPOCH_MS + 1_000_000


def copy(
    channel_id: str, *seqs: int, users: Collection[str] = ("ann", "ben"), size: int = 10, at_ms: int = 0
) -> InboxCopy:
    entries = [
        LogEntry(seq, positions.at(START_MS + at_ms) + seq, EntryKind.MESSAGE, "ann", b"x" * size) for seq in seqs
    ]
    return InboxCopy(users, channel_id, entries)


def seqs(copies: Collection[InboxCopy]) -> list[tuple[str, list[int]]]:
    return [(each.channel_id, [entry.seq for entry in each.entries]) for each in copies]


def test_batches_that_follow_one_another_are_one_row_whatever_lies_between() -> None:
    copies = [copy("a", 1), copy("b", 7), copy("a", 2, 3), copy("a", 4)]
    assert seqs(merged(copies)) == [("a", [1, 2, 3, 4]), ("b", [7])]
    assert all(each.user_ids == ("ann", "ben") for each in merged(copies))


def test_others_stay_apart() -> None:
    assert seqs(merged([copy("a", 1), copy("a", 3)])) == [("a", [1]), ("a", [3])]
    assert seqs(merged([copy("a", 1), copy("a", 2, users=["ann"])])) == [("a", [1]), ("a", [2])]
    # Were they one, it would be read from the log, and not from the copy.
    assert seqs(merged([copy("a", 1, size=3000), copy("a", 2, size=3000)])) == [("a", [1]), ("a", [2])]
    # A replay does not go back far enough to find what stands behind a row that began long before.
    assert seqs(merged([copy("a", 1), copy("a", 2, at_ms=20_000)])) == [("a", [1]), ("a", [2])]


def test_what_follows_the_last_of_several_rows_goes_with_that() -> None:
    copies = [copy("a", 1), copy("a", 2, users=["ann"]), copy("a", 3, users=["ann"])]
    assert seqs(merged(copies)) == [("a", [1]), ("a", [2, 3])]
