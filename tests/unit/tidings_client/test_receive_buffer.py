"""The SDK's inbox: once, in order, without gaps, and what is remembered of it."""

from __future__ import annotations

import pytest

from tidings.v1 import chat_pb2
from tidings_client._progress import Progress, ProgressUpdate
from tidings_client._receive_buffer import Gap, Heads, ReceiveBuffer, Start, StreamEntry, entry_of


def message(seq: int, channel_id: str = "a", position: int = 0) -> chat_pb2.Event:
    """Messages stand at ten times their seq unless told otherwise."""
    position = position or seq * 10
    body = chat_pb2.Message(
        channel_id=channel_id, seq=seq, position=position, sender_id="bob", text=f"{channel_id}{seq}"
    )
    return chat_pb2.Event(position=position, message=body)


def joined(seq: int, user_id: str, channel_id: str = "a") -> chat_pb2.Event:
    change = chat_pb2.MemberChange(user_id=user_id, kind=chat_pb2.MemberChange.KIND_ADDED)
    body = chat_pb2.MembershipChanged(channel_id=channel_id, seq=seq, position=seq * 10, changes=[change])
    return chat_pb2.Event(position=seq * 10, membership_changed=body)


def typing() -> chat_pb2.Event:
    return chat_pb2.Event(typing=chat_pb2.Typing(channel_id="a", user_id="bob", typing=True))


def inbox(cursor: int = 0, **seqs: int) -> ReceiveBuffer:
    return ReceiveBuffer("ann", Progress(cursor, seqs))


def feed(box: ReceiveBuffer, *events: chat_pb2.Event) -> None:
    for event in events:
        box.take(entry_of(event))


def supply(box: ReceiveBuffer, *events: chat_pb2.Event) -> None:
    box.supply_events([entry_of(event) for event in events])


def drain(box: ReceiveBuffer) -> list[str]:
    """The texts, or kinds, of what the application is given."""
    given = []
    while (event := box.next()) is not None:
        kind = event.WhichOneof("body")
        given.append(event.message.text if kind == "message" else str(kind))
    return given


def test_events_in_order_are_given_once() -> None:
    box = inbox()
    feed(box, message(1), message(2), message(1), message(2), message(3))
    assert drain(box) == ["a1", "a2", "a3"]
    assert box.received_cursor == 30


def test_what_nobody_takes_is_kept_up_to_a_bound_and_comes_again_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING", 10)
    box = inbox()
    feed(box, *(message(seq) for seq in range(1, 101)))
    assert len(box) == 21
    assert (box.is_crowded, box.is_skipping) == (True, True)
    # A stream that breaks meanwhile does not bring all of it again and again.
    box.lose()
    assert box.begin() == 1000
    feed(box, message(101))
    assert len(box) == 21
    for seq in range(1, 17):
        assert (event := box.next()) is not None
        assert event.message.seq == seq
    assert box.is_roomy
    box.lose()
    assert box.begin() == 210
    assert not box.is_skipping
    feed(box, *(message(seq) for seq in range(22, 27)))
    assert drain(box) == [f"a{seq}" for seq in range(17, 27)]


def test_the_bound_is_on_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING_BYTES", 1_000)
    box = inbox()
    feed(box, *(message(seq) for seq in range(1, 1001)))
    kept = sum(message(seq).ByteSize() for seq in range(1, len(box) + 1))
    assert 2_000 < kept < 2_000 + message(1000).ByteSize()
    drain(box)
    assert box.is_roomy


def test_skipped_events_do_not_outlive_a_server_that_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING", 2)
    box = inbox()
    feed(box, *(message(seq) for seq in range(1, 20)))
    assert box.is_skipping
    box.restart()
    assert not box.is_skipping
    assert box.begin() == 0


def test_channels_do_not_wait_for_each_others_numbers() -> None:
    box = inbox(b=7)
    feed(box, message(1), message(8, "b"), message(2))
    assert drain(box) == ["a1", "b8", "a2"]


def test_a_gap_holds_back_everything_behind_it_until_it_is_filled() -> None:
    box = inbox(a=2)
    feed(box, message(5), typing(), message(6))
    assert box.need == Gap("a", 2, 5)
    assert drain(box) == []
    supply(box, message(3), message(4))
    assert box.need is None
    assert drain(box) == ["a3", "a4", "a5", "typing", "a6"]


def test_a_gap_is_filled_page_by_page() -> None:
    box = inbox(a=1)
    feed(box, message(7))
    supply(box, message(2), message(3))
    assert box.need == Gap("a", 3, 7)
    supply(box, message(4), message(5), message(6), message(7), message(8))
    assert drain(box) == ["a2", "a3", "a4", "a5", "a6", "a7"]


def test_what_history_does_not_show_is_not_waited_for() -> None:
    box = inbox(a=2)
    feed(box, message(9))
    supply(box, message(6))
    assert box.need == Gap("a", 6, 9)
    supply(box)
    assert drain(box) == ["a6", "a9"]


def test_a_gap_does_not_move_the_cursor_before_the_stream_does() -> None:
    box = inbox(50, a=2)
    feed(box, message(4))
    supply(box, message(3, position=999))
    assert drain(box) == ["a3", "a4"]
    assert box.received_cursor == 50


def test_a_second_gap_behind_the_first_is_asked_for_next() -> None:
    box = inbox(a=1, b=1)
    feed(box, message(3), message(3, "b"))
    supply(box, message(2))
    assert box.need == Gap("b", 1, 3)
    supply(box, message(2, "b"))
    assert drain(box) == ["a2", "a3", "b2", "b3"]


def test_a_lost_stream_takes_what_was_held_back_with_it_and_the_replay_brings_it_again() -> None:
    box = inbox(20, a=2)
    feed(box, message(4), message(5))
    box.lose()
    assert box.need is None
    assert box.received_cursor == 20, "what is held back has not been received"
    feed(box, message(3), message(4), message(5))
    assert drain(box) == ["a3", "a4", "a5"]


def test_a_new_channel_starts_with_its_first_event_or_the_one_that_adds_this_user() -> None:
    box = inbox()
    feed(box, message(1), joined(12, "ann", "b"), message(13, "b"))
    assert drain(box) == ["a1", "membership_changed", "b13"]


def test_a_new_channel_that_starts_in_the_middle_is_looked_up() -> None:
    box = inbox()
    feed(box, message(7))
    needs = [box.need]
    box.supply_start(5)
    needs.append(box.need)
    assert needs == [Start("a"), Gap("a", 4, 7)]
    supply(box, message(5), message(6))
    assert drain(box) == ["a5", "a6", "a7"]


def test_somebody_elses_joining_is_no_start() -> None:
    box = inbox()
    feed(box, joined(4, "carl"))
    assert box.need == Start("a")


def test_a_channel_that_cannot_be_looked_up_starts_where_it_is_seen() -> None:
    box = inbox()
    feed(box, message(7))
    box.supply_start(0)
    assert drain(box) == ["a7"]


def test_an_event_from_before_the_present_stay_is_not_dropped() -> None:
    box = inbox()
    feed(box, message(7), joined(20, "ann"))
    box.supply_start(20)
    supply(box)
    assert drain(box) == ["a7", "membership_changed"]


def test_coming_back_to_a_group_asks_history_what_was_visible() -> None:
    box = inbox(a=3)
    feed(box, joined(9, "ann"))
    assert box.need == Gap("a", 3, 9)
    supply(box, joined(9, "ann"))
    assert drain(box) == ["membership_changed"]


def test_numbers_alone_move_on_without_an_event() -> None:
    box = inbox(a=1)
    box.take(StreamEntry(None, "a", 2, 20, wanted=False))
    feed(box, message(3))
    assert drain(box) == ["a3"]
    assert box.take_unsaved().seqs == {"a": 3}


def test_a_step_whose_event_is_unknown_is_fetched_too() -> None:
    box = inbox(a=1)
    box.take(StreamEntry(None, "a", 2, 20))
    feed(box, message(3))
    assert box.need == Gap("a", 1, 3)
    supply(box, message(2))
    assert drain(box) == ["a2", "a3"]


def test_a_step_whose_event_is_nowhere_is_passed() -> None:
    box = inbox(a=1)
    box.take(StreamEntry(None, "a", 2, 20))
    supply(box)
    feed(box, message(3))
    assert drain(box) == ["a3"]


def test_an_event_is_handled_when_the_next_is_asked_for() -> None:
    box = inbox()
    feed(box, message(1), message(2))
    assert box.next() == message(1)
    assert not box.has_unsaved
    assert box.next() == message(2)
    assert box.has_unsaved
    step = box.take_unsaved()
    assert (step.cursor, step.seqs, step.anew) == (10, {"a": 1}, False)
    box.finish()
    step = box.take_unsaved()
    assert (step.cursor, step.seqs) == (20, {"a": 2})
    assert not box.has_unsaved


def test_what_is_handed_may_be_acknowledged_before_it_is_handled() -> None:
    box = inbox()
    feed(box, message(1), message(2))
    box.next()
    assert (box.handed_position, box.received_cursor) == (10, 20)


def test_a_repeat_does_not_move_the_cursor_past_what_still_waits() -> None:
    box = inbox(a=1)
    feed(box, message(2), message(1, position=500))
    box.next()
    box.finish()
    assert box.take_unsaved().cursor == 20
    assert box.next() is None
    assert box.take_unsaved().cursor == 500


def test_the_end_of_a_replay_moves_the_cursor() -> None:
    box = inbox()
    feed(box, message(1), chat_pb2.Event(sync_complete=chat_pb2.SyncComplete(position=77)))
    assert drain(box) == ["a1", "sync_complete"]
    assert (box.received_cursor, box.take_unsaved().cursor) == (77, 77)


def test_a_body_of_a_later_version_moves_the_cursor_and_is_not_given() -> None:
    box = inbox()
    feed(box, chat_pb2.Event(position=5))
    assert drain(box) == []
    assert box.take_unsaved().cursor == 5


def test_a_reset_learns_the_heads_first_and_forgets_the_rest() -> None:
    box = inbox(10, a=3, gone=8)
    feed(box, chat_pb2.Event(sync_reset=chat_pb2.SyncReset()), message(41), message(1, "b"))
    assert box.need == Heads()
    assert drain(box) == []
    box.supply_heads({"a": 40, "b": 0})
    assert drain(box) == ["sync_reset", "a41", "b1"]
    step = box.take_unsaved()
    assert (step.anew, step.seqs) == (True, {"a": 41, "b": 1})


def test_a_reset_that_was_not_handled_is_not_saved() -> None:
    box = inbox(10, a=3)
    feed(box, chat_pb2.Event(sync_reset=chat_pb2.SyncReset()))
    box.supply_heads({"a": 40})
    box.next()
    assert not box.has_unsaved


def test_after_a_cursor_from_the_future_the_application_rebuilds() -> None:
    box = inbox(900, a=2, b=7)
    feed(box, message(3, position=1000))
    box.restart()
    assert box.received_cursor == 0
    feed(box, message(1), message(2))
    assert box.need == Heads()
    box.supply_heads({"a": 2})
    # Another seq 3 than the one that came before the server was set back.
    feed(box, message(3), message(4))
    assert drain(box) == ["a3", "sync_reset", "a3", "a4"]
    assert box.take_unsaved() == ProgressUpdate(40, {"a": 4}, anew=True)


def test_a_cursor_from_the_future_stays_until_the_application_knows() -> None:
    box = inbox(900, a=2)
    box.restart()
    feed(box, message(1))
    # The stream is lost before it is known what the server has.
    box.lose()
    assert not box.has_unsaved
    feed(box, message(1))
    box.supply_heads({"a": 1})
    assert box.next() is not None
    assert not box.has_unsaved
    box.finish()
    assert box.take_unsaved().cursor == 0
    assert box.received_cursor == 10


def test_only_what_is_asked_for_can_be_supplied() -> None:
    box = inbox()
    with pytest.raises(TypeError):
        supply(box)
    with pytest.raises(TypeError):
        box.supply_start(1)
    with pytest.raises(TypeError):
        box.supply_heads({})
