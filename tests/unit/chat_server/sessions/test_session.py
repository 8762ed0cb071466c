"""A session: what reaches it when, its bounds, its replay, its end."""

from __future__ import annotations

import pytest

from chat_server import events
from chat_server.sessions.session import Session
from tests.support.sessions import session, told
from tidings.core.errors import Code, Refusal
from tidings.core.limits import SessionLimits
from tidings.core.values import Identity
from tidings.v1 import chat_pb2

COMPLETE = events.framed(chat_pb2.Event(sync_complete=chat_pb2.SyncComplete(position=1)))
TYPING = events.framed(chat_pb2.Event(typing=chat_pb2.Typing(channel_id="c")))
GONE = Refusal(Code.UNAUTHENTICATED, "signed out")


def entry(seq: int, text: str = "") -> bytes:
    return events.framed(chat_pb2.Event(position=seq * 10, message=chat_pb2.Message(seq=seq, text=text)))


def deliver(to: Session, *seqs: int, channel_id: str = "c") -> None:
    for seq in seqs:
        to.deliver(entry(seq), 1, channel_id, seq * 10, seq)


def waking(calls: list[Session], limits: SessionLimits | None = None) -> Session:
    return Session("s", Identity("ann", "phone", 1), limits or SessionLimits(), calls.append)


def test_what_is_delivered_waits_in_order_and_is_to_be_acknowledged() -> None:
    ann = session("ann")
    deliver(ann, 1, 2)
    ann.send(TYPING)
    deliver(ann, 3)
    assert told(ann) == ["1", "2", "typing", "3"]
    assert ann.unacknowledged.acknowledged(20) == {"c": 2}


def test_the_writer_is_woken_unless_it_writes_already() -> None:
    calls: list[Session] = []
    ann = waking(calls)
    ann.send(TYPING)
    assert calls == [ann]
    ann.writing = True
    ann.send(TYPING)
    assert calls == [ann]


def test_a_reader_too_slow_is_ended_and_what_waited_is_dropped() -> None:
    ended: list[bool] = []
    ann = session("ann", limits=SessionLimits(waiting_events=3))
    ann.when_ended(lambda: ended.append(True))
    deliver(ann, 1, 2, 3)
    assert ann.ended is None
    deliver(ann, 4, 5)
    assert ann.ended is not None
    assert (ann.ended.code, ann.ended.reason) == (Code.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")
    assert not ann.outbox
    assert ended == [True]


def test_the_first_reason_to_end_counts() -> None:
    ended: list[bool] = []
    ann = session("ann")
    ann.when_ended(lambda: ended.append(True))
    deliver(ann, 1)
    ann.end(GONE)
    ann.end(Refusal(Code.ABORTED, "later"))
    assert ann.ended is GONE
    assert ended == [True]
    deliver(ann, 2)
    ann.send(TYPING)
    assert not ann.outbox
    assert ann.unacknowledged.acknowledged(99) == {"c": 1}


def test_a_closed_session_keeps_nothing_and_calls_nobody() -> None:
    called: list[str] = []
    ann = session("ann", limits=SessionLimits(commands_in_flight=1))
    ann.when_ended(lambda: called.append("ended"))
    ann.start_command()
    ann.when_room(lambda: called.append("room"))
    deliver(ann, 1)
    ann.close()
    ann.result(TYPING)
    ann.end(GONE)
    assert not ann.outbox
    assert called == []
    assert ann.ended is not None
    assert ann.ended.code is Code.ABORTED


# --- replay -----------------------------------------------------------------------------------------------------------


def test_what_happens_live_follows_the_replay_without_what_that_has_brought() -> None:
    ann = session("ann")
    ann.begin_replay()
    deliver(ann, 3, 4)
    deliver(ann, 1, channel_id="other")
    ann.send(TYPING)
    deliver(ann, 5)
    assert not ann.outbox
    assert ann.finish_replay({"c": 3}, COMPLETE)
    assert told(ann) == ["sync_complete", "4", "1", "typing", "5"]
    assert ann.unacknowledged.acknowledged(50) == {"c": 5, "other": 1}
    deliver(ann, 6)
    assert told(ann) == ["6"]


def test_a_frame_that_the_replay_has_brought_in_part_is_sent_whole() -> None:
    ann = session("ann")
    ann.begin_replay()
    ann.deliver(entry(3) + entry(4), 2, "c", 40, 4)
    assert ann.finish_replay({"c": 3}, COMPLETE)
    assert told(ann) == ["sync_complete", "3", "4"]


@pytest.mark.parametrize(
    ("limits", "text"),
    [(SessionLimits(waiting_events=4), ""), (SessionLimits(waiting_bytes=4 * len(entry(1, "x" * 1000))), "x" * 1000)],
    ids=["events", "bytes"],
)
def test_what_is_held_back_has_the_same_bounds_and_passing_them_means_another_replay(
    limits: SessionLimits, text: str
) -> None:
    for count, fits in ((3, True), (4, False), (4000, False)):
        ann = session("ann", limits=limits)
        ann.begin_replay()
        for seq in range(1, count + 1):
            ann.deliver(entry(seq, text), 1, "c", seq * 10, seq)
        assert ann.finish_replay({}, COMPLETE) is fits
        assert ann.ended is None
        if not fits:
            assert not ann.outbox
            ann.begin_replay()
            deliver(ann, count + 1)
            assert ann.finish_replay({"c": count}, COMPLETE)
            assert told(ann) == ["sync_complete", str(count + 1)]


def test_a_session_that_ended_holds_nothing_back() -> None:
    ann = session("ann")
    ann.begin_replay()
    deliver(ann, 1)
    ann.end(GONE)
    deliver(ann, 2)
    assert ann.finish_replay({}, COMPLETE)
    assert not ann.outbox


# --- commands in flight -----------------------------------------------------------------------------------------------


def test_commands_in_flight_are_bounded() -> None:
    ann = session("ann", limits=SessionLimits(commands_in_flight=2))
    ann.start_command()
    assert not ann.is_full()
    ann.start_command()
    assert ann.is_full()
    room: list[bool] = []
    ann.when_room(lambda: room.append(True))
    assert room == []
    ann.result(events.accepted(1, None))
    assert room == [True]
    assert not ann.is_full()
    ann.result(events.accepted(2, None))
    assert room == [True]
    assert ann.in_flight == 0


def test_hints_are_left_out_once_much_waits_and_end_no_session() -> None:
    ann = session("ann", limits=SessionLimits(waiting_events=4))
    deliver(ann, 1, 2)
    for _ in range(10):
        ann.hint(TYPING)
    deliver(ann, 3)
    assert ann.ended is None
    assert told(ann) == ["1", "2", "typing", "3"]


def test_hints_during_a_replay_do_not_make_it_begin_again() -> None:
    ann = session("ann", limits=SessionLimits(waiting_events=6))
    ann.begin_replay()
    for _ in range(10):
        ann.hint(TYPING)
    deliver(ann, 1)
    assert ann.finish_replay({}, COMPLETE)
    assert told(ann)[-1] == "1"
