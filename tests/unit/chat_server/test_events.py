"""Events as bytes: what is stored is what is sent, and frames joined are a frame."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from chat_server import events
from tests.support.clock import FakeClock
from tidings.core.actions import Accepted
from tidings.core.framing import frame
from tidings.core.positions import Positions
from tidings.core.values import Marks, Role
from tidings.v1 import channel_pb2, chat_pb2

NOW_MS = 1_750_000_000_123
POSITION = Positions(FakeClock(NOW_MS - 5_000)).next()


def only(frame: bytes) -> chat_pb2.Event:
    (event,) = chat_pb2.ConverseResponse.FromString(frame).events
    return event


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 400_000, 2_097_151, 2_097_152])
def test_a_frame_is_what_protobuf_would_make(size: int) -> None:
    # Around each size, so that the event's own length passes it whatever surrounds the text.
    for characters in range(max(0, size - 12), size + 1):
        event = chat_pb2.Event(message=chat_pb2.Message(text="x" * characters))
        expected = chat_pb2.ConverseResponse(events=[event]).SerializeToString()
        assert frame(event.SerializeToString()) == expected
        assert events.framed(event) == expected


@given(st.lists(st.text(max_size=300), max_size=8))
def test_joined_frames_are_one_frame_with_all_events(texts: list[str]) -> None:
    bodies = [events.message("c", n + 1, POSITION + n, NOW_MS, "ann", "", text, 0) for n, text in enumerate(texts)]
    joined = chat_pb2.ConverseResponse.FromString(b"".join(map(frame, bodies)))
    assert [each.message.text for each in joined.events] == texts
    assert [each.SerializeToString() for each in joined.events] == bodies


def test_a_message() -> None:
    event = chat_pb2.Event.FromString(events.message("c", 3, POSITION, NOW_MS, "ann", "m1", "hi 😀", 2))
    message = event.message
    assert event.position == message.position == POSITION
    assert (message.channel_id, message.seq, message.sender_id, message.client_message_id) == ("c", 3, "ann", "m1")
    assert (message.text, message.reply_to_seq, message.deleted) == ("hi 😀", 2, False)
    assert message.created_at.ToMilliseconds() == NOW_MS
    assert not message.HasField("edited_at")


def test_an_edit_a_deletion_a_title() -> None:
    edited = chat_pb2.Event.FromString(events.message_edited("c", 4, POSITION, NOW_MS, 3, "ann", "ho"))
    assert edited.position == POSITION
    assert edited.message_edited.edited_at.ToMilliseconds() == NOW_MS
    assert (edited.message_edited.message_seq, edited.message_edited.text) == (3, "ho")
    deleted = chat_pb2.Event.FromString(events.message_deleted("c", 5, POSITION, NOW_MS, 3, "bob"))
    assert deleted.message_deleted.deleted_at.ToMilliseconds() == NOW_MS
    assert (deleted.message_deleted.message_seq, deleted.message_deleted.actor_id) == (3, "bob")
    updated = chat_pb2.Event.FromString(events.channel_updated("c", 6, POSITION, NOW_MS, "ann", "t"))
    assert updated.channel_updated.updated_at.ToMilliseconds() == NOW_MS
    assert (updated.channel_updated.title, updated.channel_updated.seq) == ("t", 6)


def test_who_went_has_no_role() -> None:
    changes = [
        events.member_change("ann", chat_pb2.MemberChange.KIND_LEFT, None),
        events.member_change("bob", chat_pb2.MemberChange.KIND_ROLE_CHANGED, Role.OWNER),
    ]
    changed = chat_pb2.Event.FromString(
        events.membership_changed("c", 4, POSITION, NOW_MS, "ann", changes)
    ).membership_changed
    assert [each.role for each in changed.changes] == [
        channel_pb2.MEMBER_ROLE_UNSPECIFIED,
        channel_pb2.MEMBER_ROLE_OWNER,
    ]
    assert changed.created_at.ToMilliseconds() == NOW_MS


def test_what_is_redacted_keeps_everything_but_the_text() -> None:
    message = chat_pb2.Event.FromString(events.message("c", 3, POSITION, NOW_MS, "ann", "m1", "secret", 2))
    redacted = chat_pb2.Event.FromString(events.redacted(message.SerializeToString()))
    message.message.text, message.message.deleted = "", True
    assert redacted == message
    edit = chat_pb2.Event.FromString(events.message_edited("c", 4, POSITION, NOW_MS, 3, "ann", "secret"))
    redacted = chat_pb2.Event.FromString(events.redacted(edit.SerializeToString()))
    edit.message_edited.text = ""
    assert redacted == edit


def test_receipts() -> None:
    event = only(events.receipt("c", {"ann": Marks(5, 3), "bob": Marks(1, 0)}))
    assert event.position == 0
    assert [(each.user_id, each.delivered_seq, each.read_seq) for each in event.receipt.members] == [
        ("ann", 5, 3),
        ("bob", 1, 0),
    ]


def test_a_result_stands_where_the_event_stands() -> None:
    event = only(events.accepted(7, Accepted("c", 3, POSITION, NOW_MS)))
    accepted = event.command_result.accepted
    assert event.position == accepted.position == POSITION
    assert (event.command_result.command_id, accepted.channel_id, accepted.seq) == (7, "c", 3)
    assert accepted.created_at.ToMilliseconds() == NOW_MS


def test_a_result_from_a_server_that_does_not_tell_the_time_has_that_of_its_position() -> None:
    event = only(events.accepted(7, Accepted("c", 3, POSITION)))
    assert event.command_result.accepted.created_at.ToMilliseconds() == NOW_MS - 5_000


def test_a_result_without_an_event_has_no_position() -> None:
    event = only(events.accepted(7, Accepted("c", 3, 0)))
    assert (event.position, event.command_result.accepted.seq) == (0, 3)
    assert not event.command_result.accepted.HasField("created_at")
    nothing = only(events.accepted(8, None))
    assert nothing.position == 0
    assert nothing.command_result.HasField("accepted")
    assert nothing.command_result.accepted == chat_pb2.Accepted()


def test_a_refusal() -> None:
    status = status_pb2.Status(code=code_pb2.NOT_FOUND, message="no such channel")
    event = only(events.refused(9, status))
    assert event.position == 0
    assert (event.command_result.command_id, event.command_result.error) == (9, status)
