"""What waits for one session, and how much may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chat_server.sessions.outbox import Outbox
from tidings.core.limits import SessionLimits


def test_all_that_waits_is_taken_as_one_frame_in_order() -> None:
    outbox = Outbox(SessionLimits())
    assert not outbox
    assert outbox.add(b"one", 1)
    assert outbox.add(b"two", 1)
    assert outbox
    assert outbox.take() == b"onetwo"
    assert not outbox
    assert outbox.take() == b""


def test_two_thousand_events_may_wait() -> None:
    outbox = Outbox(SessionLimits())
    assert outbox.add(b"x", 1_000)
    assert outbox.add(b"x", 1_000)
    assert not outbox.add(b"x", 1)
    assert outbox.take() == b"xx"
    assert outbox.add(b"x", 2_000)


def test_one_mebibyte_may_wait() -> None:
    outbox = Outbox(SessionLimits())
    half = bytes(1 << 19)
    assert outbox.add(half, 1)
    assert outbox.add(half, 1)
    assert not outbox.add(b"x", 1)
    assert len(outbox.take()) == 1 << 20


def test_a_frame_over_the_bound_is_taken_when_nothing_else_waits() -> None:
    outbox = Outbox(SessionLimits())
    large = bytes(3 << 20)
    assert outbox.add(large, 5_000)
    assert not outbox.add(b"x", 1)
    assert outbox.take() == large
    assert outbox.add(b"x", 1)
    assert not outbox.add(large, 1)


def test_what_is_dropped_makes_room() -> None:
    outbox = Outbox(SessionLimits(waiting_events=1))
    assert outbox.add(b"x", 1)
    assert not outbox.add(b"x", 1)
    outbox.clear()
    assert not outbox
    assert outbox.add(b"y", 1)
    assert outbox.take() == b"y"


@given(st.lists(st.one_of(st.tuples(st.binary(min_size=1, max_size=12), st.integers(1, 6)), st.none()), max_size=40))
def test_never_more_than_the_bound_waits(steps: list[tuple[bytes, int] | None]) -> None:
    limits = SessionLimits(waiting_events=10, waiting_bytes=20)
    outbox = Outbox(limits)
    model: list[tuple[bytes, int]] = []
    for step in steps:
        if step is None:
            assert outbox.take() == b"".join(frame for frame, _ in model)
            model = []
            continue
        after = [*model, step]
        fits = sum(count for _, count in after) <= 10 and sum(len(frame) for frame, _ in after) <= 20
        assert outbox.add(*step) is (fits or not model)
        if fits or not model:
            model = after
    assert bool(outbox) is bool(model)
