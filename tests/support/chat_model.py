"""Logs and snapshots of channels, and the terminal client's model of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tidings.v1 import account_pb2, channel_pb2, chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats
from tidings_chat.timeline import LogEntry

# The server's time of seq 0; a second a seq.
EPOCH = 1_750_000_000
NOW = datetime.fromtimestamp(EPOCH).astimezone() + timedelta(minutes=1)


def message(seq: int, sender: str = "ben", text: str = "", *, reply_to: int = 0, name: str = "") -> chat_pb2.Message:
    made = chat_pb2.Message(
        channel_id="c",
        seq=seq,
        position=seq * 10,
        sender_id=sender,
        text=text or f"text {seq}",
        reply_to_seq=reply_to,
        client_message_id=name,
    )
    made.created_at.FromSeconds(EPOCH + seq)
    return made


def edited(seq: int, message_seq: int, text: str) -> chat_pb2.MessageEdited:
    return chat_pb2.MessageEdited(channel_id="c", seq=seq, position=seq * 10, message_seq=message_seq, text=text)


def deleted(seq: int, message_seq: int) -> chat_pb2.MessageDeleted:
    return chat_pb2.MessageDeleted(channel_id="c", seq=seq, position=seq * 10, message_seq=message_seq)


def membership(seq: int, actor: str, *changes: tuple[str, str]) -> chat_pb2.MembershipChanged:
    made = chat_pb2.MembershipChanged(channel_id="c", seq=seq, position=seq * 10, actor_id=actor)
    for user_id, kind in changes:
        made.changes.add(
            user_id=user_id,
            kind=chat_pb2.MemberChange.Kind.Value(f"KIND_{kind}"),
            role=channel_pb2.MEMBER_ROLE_MEMBER,
        )
    made.created_at.FromSeconds(EPOCH + seq)
    return made


def titled(seq: int, title: str, actor: str = "ben") -> chat_pb2.ChannelUpdated:
    made = chat_pb2.ChannelUpdated(channel_id="c", seq=seq, position=seq * 10, actor_id=actor, title=title)
    made.updated_at.FromSeconds(EPOCH + seq)
    return made


def event_of(entry: LogEntry) -> chat_pb2.Event:
    match entry:
        case chat_pb2.Message():
            return chat_pb2.Event(position=entry.position, message=entry)
        case chat_pb2.MessageEdited():
            return chat_pb2.Event(position=entry.position, message_edited=entry)
        case chat_pb2.MessageDeleted():
            return chat_pb2.Event(position=entry.position, message_deleted=entry)
        case chat_pb2.MembershipChanged():
            return chat_pb2.Event(position=entry.position, membership_changed=entry)
        case _:
            return chat_pb2.Event(position=entry.position, channel_updated=entry)


def snapshot(
    head: int = 0,
    *,
    channel_id: str = "c",
    members: Iterable[str] = ("ann", "ben"),
    kind: channel_pb2.ChannelKind = channel_pb2.CHANNEL_KIND_GROUP,
    title: str = "Hike",
    read: int = 0,
    unread: int = 0,
    since: int = 1,
    muted: bool = False,
) -> channel_pb2.Channel:
    return channel_pb2.Channel(
        channel_id=channel_id,
        kind=kind,
        title=title if kind == channel_pb2.CHANNEL_KIND_GROUP else "",
        members=[
            channel_pb2.Member(user_id=each, role=channel_pb2.MEMBER_ROLE_MEMBER, since_seq=since) for each in members
        ],
        head_seq=head,
        head_position=head * 10,
        my_read_seq=read,
        unread_count=unread,
        muted=muted,
    )


def direct(head: int = 0, **more: int) -> channel_pb2.Channel:
    return snapshot(head, kind=channel_pb2.CHANNEL_KIND_DIRECT, **more)  # type: ignore[arg-type]


def user(user_id: str) -> account_pb2.User:
    return account_pb2.User(user_id=user_id, username=user_id, display_name=user_id.capitalize())


def chats(*snapshots: channel_pb2.Channel) -> Chats:
    made = Chats(user("ann"))
    made.meet(user(each) for each in ("ben", "cid", "dan"))
    made.put_all(snapshots)
    return made


def receipt(user_id: str, delivered: int, read: int, channel_id: str = "c") -> chat_pb2.Event:
    members = [chat_pb2.MemberReceipt(user_id=user_id, delivered_seq=delivered, read_seq=read)]
    return chat_pb2.Event(receipt=chat_pb2.Receipt(channel_id=channel_id, members=members))


def opened(made: Chats, entries: Sequence[LogEntry] = (), *, is_last: bool = True) -> ChatChannel:
    channel = made.channels["c"]
    channel.is_open = True
    channel.timeline.add_page(entries, is_last=is_last)
    return channel
