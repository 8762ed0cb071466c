"""Actions on their way to a channel's owner: `tidings.internal.v1.Ask`."""

from __future__ import annotations

from tidings.core import actions
from tidings.core.actions import Action, Aside
from tidings.core.errors import Code, Refusal
from tidings.core.values import ChannelKind, Role
from tidings.internal.v1 import peer_pb2
from tidings.v1 import channel_pb2


def encode(ask: peer_pb2.Ask, action: Action | Aside) -> None:
    """Writes what is asked into an Ask."""
    match action:
        case actions.Send(client_message_id, text, reply_to_seq):
            send = ask.send_message
            send.client_message_id, send.text, send.reply_to_seq = client_message_id, text, reply_to_seq
        case actions.Edit(seq, text, client_message_id):
            edit = ask.edit_message
            edit.seq, edit.text, edit.client_message_id = seq, text, client_message_id
        case actions.Delete(seq):
            ask.delete_message.seq = seq
        case actions.MarkRead(seq):
            ask.mark_read.seq = seq
        case actions.CreateChannel(kind, title, member_ids):
            ask.create_channel.kind = channel_pb2.ChannelKind.Name(kind)  # type: ignore[assignment]
            ask.create_channel.title = title
            ask.create_channel.member_ids.extend(member_ids)
        case actions.AddMembers(member_ids):
            ask.add_members.member_ids.extend(member_ids)
        case actions.RemoveMember(user_id):
            ask.remove_member.user_id = user_id
        case actions.Leave():
            ask.leave_group.SetInParent()
        case actions.Retitle(title):
            ask.update_group.title = title
        case actions.ChangeRole(user_id, role):
            ask.update_group.role_change.user_id = user_id
            ask.update_group.role_change.role = channel_pb2.MemberRole.Name(role)  # type: ignore[assignment]
        case actions.Refresh():
            ask.refresh.SetInParent()
        case actions.ShowTyping(typing):
            ask.set_typing.typing = typing


def decode(ask: peer_pb2.Ask) -> Action | Aside:
    """What an Ask asks.

    Raises:
        Refusal: INVALID_ARGUMENT: nothing that this server knows, as from a newer one.
    """
    match ask.WhichOneof("action"):
        case "send_message":
            send = ask.send_message
            return actions.Send(send.client_message_id, send.text, send.reply_to_seq)
        case "edit_message":
            edit = ask.edit_message
            return actions.Edit(edit.seq, edit.text, edit.client_message_id)
        case "delete_message":
            return actions.Delete(ask.delete_message.seq)
        case "mark_read":
            return actions.MarkRead(ask.mark_read.seq)
        case "create_channel":
            create = ask.create_channel
            return actions.CreateChannel(ChannelKind(create.kind), create.title, tuple(create.member_ids))
        case "add_members":
            return actions.AddMembers(tuple(ask.add_members.member_ids))
        case "remove_member":
            return actions.RemoveMember(ask.remove_member.user_id)
        case "leave_group":
            return actions.Leave()
        case "update_group" if ask.update_group.HasField("role_change"):
            change = ask.update_group.role_change
            return actions.ChangeRole(change.user_id, Role(change.role))
        case "update_group":
            return actions.Retitle(ask.update_group.title)
        case "refresh":
            return actions.Refresh()
        case "set_typing":
            return actions.ShowTyping(ask.set_typing.typing)
        case other:
            raise Refusal(Code.INVALID_ARGUMENT, f"this server does not know {other}", reason="UNKNOWN_ACTION")
