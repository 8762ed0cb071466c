"""Rows of the channels' tables as values, and how a log is divided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tidings.core.values import EntryKind, LogEntry, Marks
from tidings.v1 import chat_pb2

BUCKET = 1_000
"""Entries in one partition of a log."""

# Partitions are numbered with 32 bits.
_SEQS = BUCKET << 31

ENTRY_COLUMNS = "seq, position, kind, author_id, client_message_id, target_seq, body"


def bucket_of(seq: int) -> int:
    """The partition of a log that an entry is in."""
    return (seq - 1) // BUCKET


def by_bucket(seqs: Iterable[int]) -> Mapping[int, Collection[int]]:
    """Entries by partition, without numbers that no entry can have; they may come from a client."""
    found: dict[int, list[int]] = {}
    for seq in seqs:
        if 0 < seq <= _SEQS:
            found.setdefault(bucket_of(seq), []).append(seq)
    return found


def entry(row: tuple[Any, ...]) -> LogEntry:
    """A row of ENTRY_COLUMNS."""
    seq, position, kind, author_id, client_message_id, target_seq, body = row
    return LogEntry(seq, position, EntryKind(kind), author_id, body, client_message_id, target_seq)


def encode_marks(marks: Mapping[str, Marks]) -> bytes:
    """The receipts of a channel, for one cell."""
    return chat_pb2.Receipt(
        members=[
            chat_pb2.MemberReceipt(user_id=user_id, delivered_seq=each.delivered_seq, read_seq=each.read_seq)
            for user_id, each in marks.items()
        ]
    ).SerializeToString()


def decode_marks(blob: bytes) -> dict[str, Marks]:
    """What `encode_marks` made."""
    receipt = chat_pb2.Receipt.FromString(blob)
    return {each.user_id: Marks(each.delivered_seq, each.read_seq) for each in receipt.members}
