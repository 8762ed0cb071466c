"""The event that a command of this device made.

The stream that a command was sent on brings its CommandResult instead of the event. An application wants the whole log,
so the event is put together here, from the command and its result.
"""

from __future__ import annotations

from tidings.v1 import chat_pb2


def local_echo(command: chat_pb2.Command, accepted: chat_pb2.Accepted, user_id: str) -> chat_pb2.Event | None:
    """Makes the event of an accepted command, equal to what all other devices are sent.

    Args:
        command: The command.
        accepted: Its result.
        user_id: The user who sent it.

    Returns:
        The event, or None when it cannot be known: a deletion is answered with the first deletion of that message,
        which may have been somebody else's. The history has the event then.
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
