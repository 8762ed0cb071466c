"""Actions on their way to another server: `tidings.internal.v1.ChannelRequest`."""

from __future__ import annotations

from tidings.core import actions
from tidings.core.actions import Action, Aside
from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason
from tidings.core.values import ChannelKind, Role
from tidings.internal.v1 import peer_pb2
from tidings.v1 import channel_pb2


def encode(request: peer_pb2.ChannelRequest, action: Action | Aside) -> None:
    """Write an action into a request."""
    match action:
        case actions.Send(client_message_id, text, reply_to_seq):
            send = request.send_message
            send.client_message_id, send.text, send.reply_to_seq = client_message_id, text, reply_to_seq
        case actions.Edit(seq, text, client_message_id):
            edit = request.edit_message
            edit.seq, edit.text, edit.client_message_id = seq, text, client_message_id
        case actions.Delete(seq):
            request.delete_message.seq = seq
        case actions.MarkRead(seq):
            request.mark_read.seq = seq
        case actions.CreateChannel(kind, title, member_ids):
            request.create_channel.kind = channel_pb2.ChannelKind.Name(kind)  # type: ignore[assignment]
            request.create_channel.title = title
            request.create_channel.member_ids.extend(member_ids)
        case actions.AddMembers(member_ids):
            request.add_members.member_ids.extend(member_ids)
        case actions.RemoveMember(user_id):
            request.remove_member.user_id = user_id
        case actions.Leave():
            request.leave_group.SetInParent()
        case actions.Retitle(title):
            request.update_group.title = title
        case actions.ChangeRole(user_id, role):
            request.update_group.role_change.user_id = user_id
            request.update_group.role_change.role = channel_pb2.MemberRole.Name(role)  # type: ignore[assignment]
        case actions.Refresh():
            request.refresh.SetInParent()
        case actions.ShowTyping(typing):
            request.set_typing.typing = typing


def decode(request: peer_pb2.ChannelRequest) -> Action | Aside:
    """Read the action of a request.

    Raises:
        Refusal: INVALID_ARGUMENT, this server does not know the action, or a kind or a role in it: a newer one sent it.
    """
    try:
        return _decode(request)
    except ValueError as error:
        raise Refusal(Code.INVALID_ARGUMENT, str(error), reason=Reason.UNKNOWN_ACTION) from None


def _decode(request: peer_pb2.ChannelRequest) -> Action | Aside:
    match request.WhichOneof("action"):
        case "send_message":
            send = request.send_message
            return actions.Send(send.client_message_id, send.text, send.reply_to_seq)
        case "edit_message":
            edit = request.edit_message
            return actions.Edit(edit.seq, edit.text, edit.client_message_id)
        case "delete_message":
            return actions.Delete(request.delete_message.seq)
        case "mark_read":
            return actions.MarkRead(request.mark_read.seq)
        case "create_channel":
            create = request.create_channel
            return actions.CreateChannel(ChannelKind(create.kind), create.title, tuple(create.member_ids))
        case "add_members":
            return actions.AddMembers(tuple(request.add_members.member_ids))
        case "remove_member":
            return actions.RemoveMember(request.remove_member.user_id)
        case "leave_group":
            return actions.Leave()
        case "update_group" if request.update_group.HasField("role_change"):
            change = request.update_group.role_change
            return actions.ChangeRole(change.user_id, Role(change.role))
        case "update_group":
            return actions.Retitle(request.update_group.title)
        case "refresh":
            return actions.Refresh()
        case "set_typing":
            return actions.ShowTyping(request.set_typing.typing)
        case other:
            raise ValueError(f"this server does not know {other}")
