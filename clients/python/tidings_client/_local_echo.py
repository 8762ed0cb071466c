"""The event that a device's own command made.

The stream it was sent on brings its CommandResult in the event's place. An application wants the log, so the event is
made here from both halves: what was asked, and what it was accepted as.
"""

from __future__ import annotations

from tidings.v1 import chat_pb2


def makes_event(command: chat_pb2.Command) -> bool:
    """Whether a command, once accepted, is an entry of a channel's log."""
    return command.WhichOneof("body") in ("send_message", "edit_message", "delete_message")


def local_echo(command: chat_pb2.Command, accepted: chat_pb2.Accepted, user_id: str) -> chat_pb2.Event | None:
    """The event of an accepted command, equal to what everybody else is sent.

    Args:
        command: What was asked.
        accepted: What it was accepted as.
        user_id: Who asked.

    Returns:
        The event, or None when it is not certain: a deletion is answered with the first deletion of that message, which
        may have been somebody else's. The log knows then.
    """
    channel_id, seq, position = accepted.channel_id, accepted.seq, accepted.position
    match command.WhichOneof("body"):
        case "send_message":
            sent = command.send_message
            return chat_pb2.Event(
                position=position,
                message=chat_pb2.Message(
                    channel_id=channel_id,
                    seq=seq,
                    position=position,
                    sender_id=user_id,
                    client_message_id=sent.client_message_id,
                    text=sent.text,
                    reply_to_seq=sent.reply_to_seq,
                    created_at=accepted.created_at,
                ),
            )
        case "edit_message":
            edited = command.edit_message
            return chat_pb2.Event(
                position=position,
                message_edited=chat_pb2.MessageEdited(
                    channel_id=channel_id,
                    seq=seq,
                    position=position,
                    message_seq=edited.seq,
                    editor_id=user_id,
                    text=edited.text,
                    edited_at=accepted.created_at,
                ),
            )
        case _:
            return None
