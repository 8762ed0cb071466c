"""Events as bytes. An event is encoded once, and sent to every session as those bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from tidings.core import positions
from tidings.core.actions import Accepted
from tidings.core.framing import frame
from tidings.core.values import EntryKind, LogEntry, Marks, Role
from tidings.v1 import chat_pb2


def framed(event: chat_pb2.Event) -> bytes:
    """Encode an Event as a ConverseResponse."""
    return frame(event.SerializeToString())


def _time(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def message(
    channel_id: str,
    seq: int,
    position: int,
    created_at_ms: int,
    sender_id: str,
    client_message_id: str,
    text: str,
    reply_to_seq: int,
) -> bytes:
    """Encode the Event of a new message."""
    return chat_pb2.Event(
        position=position,
        message=chat_pb2.Message(
            channel_id=channel_id,
            seq=seq,
            position=position,
            sender_id=sender_id,
            client_message_id=client_message_id,
            text=text,
            reply_to_seq=reply_to_seq,
            created_at=_time(created_at_ms),
        ),
    ).SerializeToString()


def message_edited(
    channel_id: str, seq: int, position: int, created_at_ms: int, message_seq: int, editor_id: str, text: str
) -> bytes:
    """Encode the Event of an edit."""
    return chat_pb2.Event(
        position=position,
        message_edited=chat_pb2.MessageEdited(
            channel_id=channel_id,
            seq=seq,
            position=position,
            message_seq=message_seq,
            editor_id=editor_id,
            text=text,
            edited_at=_time(created_at_ms),
        ),
    ).SerializeToString()


def message_deleted(
    channel_id: str, seq: int, position: int, created_at_ms: int, message_seq: int, actor_id: str
) -> bytes:
    """Encode the Event of a deletion."""
    return chat_pb2.Event(
        position=position,
        message_deleted=chat_pb2.MessageDeleted(
            channel_id=channel_id,
            seq=seq,
            position=position,
            message_seq=message_seq,
            actor_id=actor_id,
            deleted_at=_time(created_at_ms),
        ),
    ).SerializeToString()


def deleted_at_ms(event: bytes) -> int:
    """Read when a message was deleted, in ms since 1970, from the Event of a deletion."""
    return chat_pb2.Event.FromString(event).message_deleted.deleted_at.ToMilliseconds()


def redacted(event: bytes) -> bytes:
    """Remove the text from the Event of a message that is deleted, or of an edit that is not the latest any more."""
    parsed = chat_pb2.Event.FromString(event)
    if parsed.HasField("message"):
        parsed.message.text = ""
        parsed.message.deleted = True
    else:
        parsed.message_edited.text = ""
    return parsed.SerializeToString()


def member_change(user_id: str, kind: chat_pb2.MemberChange.Kind, role: Role | None) -> chat_pb2.MemberChange:
    """Make one change of a MembershipChanged."""
    change = chat_pb2.MemberChange(user_id=user_id, kind=kind)
    if role is not None:
        change.role = role  # type: ignore[assignment]  # numbered alike
    return change


def membership_changed(
    channel_id: str,
    seq: int,
    position: int,
    created_at_ms: int,
    actor_id: str,
    changes: Iterable[chat_pb2.MemberChange],
) -> bytes:
    """Encode the Event of people who joined, left or changed roles."""
    return chat_pb2.Event(
        position=position,
        membership_changed=chat_pb2.MembershipChanged(
            channel_id=channel_id,
            seq=seq,
            position=position,
            actor_id=actor_id,
            changes=changes,
            created_at=_time(created_at_ms),
        ),
    ).SerializeToString()


def gone(entry: LogEntry) -> list[str]:
    """List the people who left with an entry of a log, which is their last one."""
    if entry.kind is not EntryKind.MEMBERSHIP:
        return []
    changes = chat_pb2.Event.FromString(entry.body).membership_changed.changes
    return [each.user_id for each in changes if not each.role]


def channel_updated(channel_id: str, seq: int, position: int, created_at_ms: int, actor_id: str, title: str) -> bytes:
    """Encode the Event of a new title."""
    return chat_pb2.Event(
        position=position,
        channel_updated=chat_pb2.ChannelUpdated(
            channel_id=channel_id,
            seq=seq,
            position=position,
            actor_id=actor_id,
            title=title,
            updated_at=_time(created_at_ms),
        ),
    ).SerializeToString()


def receipt(channel_id: str, marks: Mapping[str, Marks]) -> bytes:
    """Encode and frame the Event of receipts."""
    return framed(
        chat_pb2.Event(
            receipt=chat_pb2.Receipt(
                channel_id=channel_id,
                members=[
                    chat_pb2.MemberReceipt(user_id=user_id, delivered_seq=each.delivered_seq, read_seq=each.read_seq)
                    for user_id, each in marks.items()
                ],
            )
        )
    )


def accepted(command_id: int, result: Accepted | None) -> bytes:
    """Frame the result of an accepted command; None for a command without a result of its own."""
    # Filled in place: 1.9 us instead of 3.7 for four messages made and copied into one another.
    event = chat_pb2.Event()
    event.command_result.command_id = command_id
    body = event.command_result.accepted
    body.SetInParent()
    if result is not None:
        body.channel_id = result.channel_id
        body.seq = result.seq
        if result.position:
            event.position = body.position = result.position
            ms = result.created_at_ms or positions.time_ms(result.position)
            body.created_at.seconds = ms // 1000
            body.created_at.nanos = ms % 1000 * 1_000_000
    return framed(event)


def refused(command_id: int, status: status_pb2.Status) -> bytes:
    """Frame the result of a refused command."""
    return framed(chat_pb2.Event(command_result=chat_pb2.CommandResult(command_id=command_id, error=status)))
