"""How a channel's log is divided into partitions of Cassandra."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

BUCKET = 1_000
"""Entries in one partition of a log."""

# Partitions are numbered with 32 bits.
_SEQS = BUCKET << 31


def bucket_of(seq: int) -> int:
    """Return the number of the partition that holds an entry."""
    return (seq - 1) // BUCKET


def by_bucket(seqs: Iterable[int]) -> Mapping[int, Collection[int]]:
    """Group entries by partition.

    The numbers may come from a client: those that no entry can have are left out.
    """
    found: dict[int, list[int]] = {}
    for seq in seqs:
        if 0 < seq <= _SEQS:
            found.setdefault(bucket_of(seq), []).append(seq)
    return found
