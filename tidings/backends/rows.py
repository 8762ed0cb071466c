"""Rows of tables as values, alike in every engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidings.core.ports import DevicePush
from tidings.core.values import EntryKind, LogEntry, Marks, Member, PushProvider, PushRequest
from tidings.v1 import chat_pb2

ENTRY_COLUMNS = "seq, position, kind, author_id, client_message_id, target_seq, body"
PUSH_COLUMNS = "device_id, provider, user_id, channel_id, seq, sender_id, preview, created_at_ms"


def log_entry(row: tuple[Any, ...]) -> LogEntry:
    """Make an entry of a row of ENTRY_COLUMNS."""
    seq, position, kind, author_id, client_message_id, target_seq, body = row
    return LogEntry(seq, position, EntryKind(kind), author_id, body, client_message_id, target_seq)


def in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    """Sort the members of a channel, longest-serving first."""
    return tuple(sorted(members, key=lambda each: (each.since_seq, -each.role, each.user_id)))


def encode_marks(marks: Mapping[str, Marks]) -> bytes:
    """Encode the receipts of a channel for one cell."""
    return chat_pb2.Receipt(
        members=[
            chat_pb2.MemberReceipt(user_id=user_id, delivered_seq=each.delivered_seq, read_seq=each.read_seq)
            for user_id, each in marks.items()
        ]
    ).SerializeToString()


def decode_marks(cell: bytes) -> dict[str, Marks]:
    """Decode the receipts of a channel, which `encode_marks` encoded."""
    receipt = chat_pb2.Receipt.FromString(cell)
    return {each.user_id: Marks(each.delivered_seq, each.read_seq) for each in receipt.members}


def push_row(push: DevicePush) -> Sequence[str | int]:
    """Return the values of PUSH_COLUMNS for a push."""
    request = push.request
    return (
        push.device_id,
        push.provider,
        request.user_id,
        request.channel_id,
        request.seq,
        request.sender_id,
        request.preview,
        request.created_at_ms,
    )


def device_push(row: Sequence[Any]) -> DevicePush:
    """Make a push of a row of PUSH_COLUMNS."""
    device_id, provider, *request = row
    return DevicePush(PushRequest(*request), device_id, PushProvider(provider))
