"""The record of an event as it came, by which copies are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tidings.v1 import chat_pb2


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """One event of a channel's log, as a device received it or the history gives it."""

    channel_id: str
    """The channel."""
    seq: int
    """Its number in the channel."""
    digest: bytes
    """Equal for events that are equal in every field."""
    name: str = ""
    """The client_message_id; empty for what is no message."""


def entry_of(event: chat_pb2.Event) -> RecordedEntry | None:
    """Makes the record of an event, from a stream or from the history; None when it is in no channel's log."""
    kind = event.WhichOneof("body")
    body = getattr(event, kind) if kind is not None else None
    if not isinstance(
        body,
        chat_pb2.Message
        | chat_pb2.MessageEdited
        | chat_pb2.MessageDeleted
        | chat_pb2.MembershipChanged
        | chat_pb2.ChannelUpdated,
    ):
        return None
    content = f"{kind} ".encode() + body.SerializeToString(deterministic=True)
    name = body.client_message_id if isinstance(body, chat_pb2.Message) else ""
    return RecordedEntry(body.channel_id, body.seq, hashlib.blake2b(content, digest_size=16).digest(), name)


def message_entry(message: chat_pb2.Message) -> RecordedEntry:
    """Makes the record of a message as a screen shows it; it equals that of its event when nothing has changed it."""
    entry = entry_of(chat_pb2.Event(message=message))
    if entry is None:
        raise TypeError("a message is an entry of its channel's log")
    return entry
