"""The live sessions: who is there, and what reaches whom."""

from __future__ import annotations

from chat_server import events
from chat_server.channels.fanout import Item
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tests.support.sessions import session, told
from tidings.core.errors import Code
from tidings.core.framing import frame
from tidings.v1 import chat_pb2


def item(seq: int, origin: Session | None = None, command_id: int = 0) -> Item:
    body = events.message("c", seq, seq * 10, 1, "ann", "", "x", 0)
    reply = None if origin is None else SessionReply(origin, command_id)
    return Item(frame(body), seq, seq * 10, reply)


def live_with(*sessions: Session) -> SessionRegistry:
    live = SessionRegistry()
    for each in sessions:
        live.add(each)
    return live


def test_a_newer_stream_of_the_same_device_ends_the_older() -> None:
    older, newer = session("ann", "phone"), session("ann", "phone")
    live = live_with(older)
    live.add(newer)
    assert older.ended is not None
    assert (older.ended.code, older.ended.reason) == (Code.ABORTED, "SESSION_REPLACED")
    assert live.of_device("phone") is newer
    assert list(live) == [newer]
    # The older one's stream winds up only now: it must not take the newer one out.
    live.remove(older)
    assert live.of_device("phone") is newer
    live.deliver("c", ["ann"], [item(1)])
    assert told(newer) == ["1"]
    assert not older.outbox


def test_a_session_may_be_entered_twice() -> None:
    phone = session("ann", "phone")
    live = live_with(phone, phone)
    assert phone.ended is None
    live.send(["ann"], item(1).frame)
    assert told(phone) == ["1"]


def test_a_session_taken_out_is_reached_no_more() -> None:
    phone, laptop = session("ann", "phone"), session("ann", "laptop")
    live = live_with(phone, laptop)
    live.remove(phone)
    live.remove(phone)
    assert len(live) == 1
    assert live.of_device("phone") is None
    live.deliver("c", ["ann"], [item(1)])
    assert not phone.outbox
    assert told(laptop) == ["1"]
    live.remove(laptop)
    live.deliver("c", ["ann"], [item(2)])
    assert len(live) == 0


def test_all_devices_of_the_audience_and_nobody_else() -> None:
    phone, laptop, bob, eve = session("ann", "phone"), session("ann", "laptop"), session("bob"), session("eve")
    live_with(phone, laptop, bob, eve).deliver("c", ["ann", "bob", "away"], [item(1), item(2)])
    assert [told(each) for each in (phone, laptop, bob, eve)] == [["1", "2"], ["1", "2"], ["1", "2"], []]
    assert bob.unacknowledged.acknowledged(20) == {"c": 2}


def test_one_frame_is_joined_once_for_all() -> None:
    people = [session(f"u{n}") for n in range(100)]
    live_with(*people).deliver("c", [each.identity.user_id for each in people], [item(1), item(2)])
    frames = [each.outbox.take() for each in people]
    assert len({id(frame) for frame in frames}) == 1
    assert [each.seq for each in map(_message, chat_pb2.ConverseResponse.FromString(frames[0]).events)] == [1, 2]


def test_a_single_event_is_not_even_copied() -> None:
    ann, only = session("ann"), item(1)
    live_with(ann).deliver("c", ["ann"], [only])
    assert ann.outbox.take() is only.frame


def test_the_senders_session_gets_the_result_in_place_of_the_event_and_all_others_the_event() -> None:
    phone, laptop, bob = session("ann", "phone"), session("ann", "laptop"), session("bob")
    for origin in (phone, phone, bob):
        origin.start_command()
    items = [item(1), item(2, phone, 21), item(3, bob, 31), item(4, phone, 22)]
    live_with(phone, laptop, bob).deliver("c", ["ann", "bob"], items)
    assert told(phone) == ["1", "#21=2", "3", "#22=4"]
    assert told(laptop) == ["1", "2", "3", "4"]
    assert told(bob) == ["1", "2", "#31=3", "4"]
    assert (phone.in_flight, bob.in_flight) == (0, 0)
    assert phone.unacknowledged.acknowledged(40) == {"c": 4}


def test_a_sender_who_is_gone_takes_nothing_from_the_others() -> None:
    phone, bob = session("ann", "phone"), session("bob")
    live = live_with(phone, bob)
    phone.start_command()
    live.remove(phone)
    phone.close()
    live.deliver("c", ["ann", "bob"], [item(1, phone, 1)])
    assert told(bob) == ["1"]
    assert not phone.outbox
    assert phone.in_flight == 0


def test_what_is_in_no_log_goes_to_all_sessions_of_some() -> None:
    phone, laptop, bob = session("ann", "phone"), session("ann", "laptop"), session("bob")
    live_with(phone, laptop, bob).send(["ann"], item(1).frame)
    assert [told(each) for each in (phone, laptop, bob)] == [["1"], ["1"], []]


def _message(event: chat_pb2.Event) -> chat_pb2.Message:
    return event.message
