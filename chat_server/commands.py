"""Commands of a stream as actions; the fields are checked before anything is done."""

from __future__ import annotations

from tidings.core import actions
from tidings.core.errors import invalid
from tidings.core.ids import check_client_id, check_id
from tidings.core.limits import CLIENT_MESSAGE_ID_CHARACTERS, TEXT_CHARACTERS, check_text
from tidings.v1 import chat_pb2


def channel_action(command: chat_pb2.Command, body: str) -> tuple[str, actions.Action] | None:
    """Read the channel and the action of a command; None for a command to the session itself.

    Args:
        command: The command.
        body: The name of the body that it has.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field at fault, the limit and the value.
    """
    # By hand what `tidings.rpc.request_check` does for calls, since this is the path of every message.
    if body == "send_message":
        send = command.send_message
        check_id("send_message.channel_id", send.channel_id)
        check_client_id("send_message.client_message_id", send.client_message_id, CLIENT_MESSAGE_ID_CHARACTERS)
        check_text("send_message.text", send.text, TEXT_CHARACTERS)
        return send.channel_id, actions.Send(send.client_message_id, send.text, send.reply_to_seq)
    if body == "edit_message":
        edit = command.edit_message
        check_id("edit_message.channel_id", edit.channel_id)
        check_client_id("edit_message.client_message_id", edit.client_message_id, CLIENT_MESSAGE_ID_CHARACTERS, least=0)
        check_text("edit_message.text", edit.text, TEXT_CHARACTERS)
        _check_seq("edit_message.seq", edit.seq)
        return edit.channel_id, actions.Edit(edit.seq, edit.text, edit.client_message_id)
    if body == "delete_message":
        check_id("delete_message.channel_id", command.delete_message.channel_id)
        _check_seq("delete_message.seq", command.delete_message.seq)
        return command.delete_message.channel_id, actions.Delete(command.delete_message.seq)
    if body == "mark_read":
        check_id("mark_read.channel_id", command.mark_read.channel_id)
        _check_seq("mark_read.seq", command.mark_read.seq)
        return command.mark_read.channel_id, actions.MarkRead(command.mark_read.seq)
    return None


def _check_seq(field: str, seq: int) -> None:
    if seq == 0:
        raise invalid(field, "must name an event, beginning with 1", actual=0)
