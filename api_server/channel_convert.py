"""Channels as messages of the contract."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from tidings.core.values import ChannelView, Marks, Member
from tidings.v1 import channel_pb2


def channel(view: ChannelView, user_id: str) -> channel_pb2.Channel:
    """Show a channel as the member `user_id` sees it."""
    snapshot = view.snapshot
    marks = snapshot.marks.get(user_id, Marks())
    return channel_pb2.Channel(
        channel_id=snapshot.record.channel_id,
        kind=snapshot.record.kind,  # type: ignore[arg-type]  # numbered alike
        title=snapshot.title,
        members=[_member(each, snapshot.marks.get(each.user_id, Marks())) for each in snapshot.members],
        head_seq=snapshot.head_seq,
        head_position=snapshot.head_position,
        my_read_seq=marks.read_seq,
        my_delivered_seq=marks.delivered_seq,
        my_since_seq=next(each.since_seq for each in snapshot.members if each.user_id == user_id),
        unread_count=view.unread_count,
        muted=view.muted,
        created_at=_time(snapshot.record.created_at_ms),
    )


def _member(member: Member, marks: Marks) -> channel_pb2.Member:
    return channel_pb2.Member(
        user_id=member.user_id,
        role=member.role,  # type: ignore[arg-type]  # numbered alike
        since_seq=member.since_seq,
        joined_at=_time(member.joined_at_ms),
        delivered_seq=marks.delivered_seq,
        read_seq=marks.read_seq,
    )


def _time(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)
