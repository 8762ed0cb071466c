"""A channel as the user sees it: what is unread, who is in it, who has received what."""

from __future__ import annotations

from tests.support.chat_model import (
    chats,
    deleted,
    edited,
    event_of,
    membership,
    message,
    receipt,
    snapshot,
    titled,
)
from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.chats import Need


def test_unread_counts_go_on_from_the_snapshot_without_counting_twice() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    channel = made.channels["c"]
    for seq in (4, 5, 6, 7):
        made.take(event_of(message(seq)), 0.0)
    made.take(event_of(message(8, "ann")), 0.0)
    made.take(event_of(edited(9, 7, "again")), 0.0)
    assert channel.unread == 5
    assert channel.head_seq == 9


def test_reading_on_another_device_lowers_the_count_or_asks_for_it() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    for seq in (6, 7):
        made.take(event_of(message(seq)), 0.0)
    channel = made.channels["c"]
    # Up to 4: how many of the three that were counted were before it only the server knows.
    assert made.take(receipt("ann", 7, 4), 0.0) is Need.CHANNEL
    made.put(snapshot(7, read=4, unread=3))
    assert channel.unread == 3
    assert made.take(receipt("ann", 7, 7), 0.0) is None
    assert channel.unread == 0


def test_a_deleted_message_is_not_unread() -> None:
    made = chats(snapshot(5, read=2, unread=2))
    channel = made.channels["c"]
    for seq in (6, 7):
        made.take(event_of(message(seq)), 0.0)
    assert made.take(event_of(deleted(8, 7)), 0.0) is None
    assert channel.unread == 3
    # One that had been read is not counted; of one before the snapshot only the server knows whether it was.
    assert made.take(event_of(deleted(9, 1)), 0.0) is None
    assert channel.unread == 3
    assert made.take(event_of(deleted(10, 4)), 0.0) is Need.CHANNEL


def test_an_answer_older_than_the_events_does_not_undo_them() -> None:
    made = chats(snapshot(5, read=5))
    made.take(event_of(message(6)), 0.0)
    made.take(event_of(titled(7, "Later")), 0.0)
    made.take(event_of(membership(8, "ben", ("cid", "ADDED"))), 0.0)
    made.put(snapshot(6, read=5, unread=1, title="Earlier"))
    channel = made.channels["c"]
    assert (channel.title, channel.unread, channel.head_seq) == ("Later", 1, 8)
    assert "cid" in channel.members


def test_read_here_stays_read_when_an_older_answer_arrives() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    channel = made.channels["c"]
    channel.mark_read(5)
    assert channel.unread == 0
    made.put(snapshot(5, read=2, unread=3))
    assert channel.unread == 0
    assert channel.read_seq == 5


def test_members_come_go_and_change_roles() -> None:
    made = chats(snapshot(1))
    channel = made.channels["c"]
    change = membership(2, "ben", ("cid", "ADDED"), ("ben", "ROLE_CHANGED"))
    change.changes[1].role = channel_pb2.MEMBER_ROLE_ADMIN
    made.take(event_of(change), 0.0)
    assert list(channel.members) == ["ann", "ben", "cid"]
    assert channel.members["ben"].role == channel_pb2.MEMBER_ROLE_ADMIN
    made.take(event_of(membership(3, "cid", ("cid", "LEFT"))), 0.0)
    assert "cid" not in channel.members
    made.take(event_of(membership(4, "ben", ("ann", "REMOVED"))), 0.0)
    assert not channel.is_member


def test_typing_lapses_after_six_seconds_and_ends_with_a_message() -> None:
    made = chats(snapshot(1))
    channel = made.channels["c"]

    def types(user_id: str, typing: bool, now: float) -> None:
        made.take(chat_pb2.Event(typing=chat_pb2.Typing(channel_id="c", user_id=user_id, typing=typing)), now)

    types("ben", True, 100.0)
    types("cid", True, 103.0)
    assert channel.typing(105.9) == ["ben", "cid"]
    assert channel.typing(106.0) == ["cid"]
    types("ben", True, 107.0)
    made.take(event_of(message(2, "ben")), 108.0)
    types("cid", False, 108.0)
    assert channel.typing(108.0) == []


def test_reach_counts_those_a_message_was_for() -> None:
    made = chats(snapshot(9, members=("ann", "ben", "cid")))
    channel = made.channels["c"]
    made.take(event_of(membership(10, "ben", ("dan", "ADDED"))), 0.0)
    made.take(receipt("ben", 9, 8), 0.0)
    # What is read has been delivered, and marks never go back.
    made.take(receipt("cid", 0, 9), 0.0)
    made.take(receipt("ben", 3, 2), 0.0)
    reach = channel.reach(9)
    assert (reach.recipients, reach.delivered, reach.read) == (2, 2, 1)


def test_marks_are_known_from_the_start_and_a_late_snapshot_does_not_take_them_back() -> None:
    described = snapshot(4)
    described.members[1].delivered_seq, described.members[1].read_seq = 4, 3
    made = chats(described)
    channel = made.channels["c"]
    assert (channel.reach(4).delivered, channel.reach(4).read) == (1, 0)
    made.take(receipt("ben", 4, 4), 0.0)
    made.put(described)
    assert channel.reach(4).read == 1
