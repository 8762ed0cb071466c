"""How long the SDK waits, and when it does things together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings_client import Backoff
from tidings_client._throttle import Throttle


def test_backoff_doubles_its_bound_up_to_the_longest() -> None:
    backoff = Backoff(0.1, 10.0, draw=lambda: 1.0)
    assert [round(backoff.next(), 3) for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_backoff_starts_again_after_success() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)


def test_backoff_never_comes_before_the_server_asked() -> None:
    backoff = Backoff(draw=lambda: 0.0)
    assert backoff.next(at_least=3.0) == 3.0


@given(st.integers(0, 2000), st.floats(0, 1))
def test_backoff_stays_within_its_bounds(failures: int, drawn: float) -> None:
    backoff = Backoff(0.1, 10.0, draw=lambda: drawn)
    for _ in range(min(failures, 200)):
        backoff.next()
    assert 0 <= backoff.next() <= 10.0


def test_pace_is_soon_after_quiet_and_no_more_often_than_its_interval() -> None:
    throttle = Throttle(interval=0.1, soon=0.02)
    assert throttle.due is None
    throttle.ask(10.0)
    throttle.ask(10.015)
    assert throttle.due == pytest.approx(10.02)
    assert not throttle.is_due(10.01)
    assert throttle.is_due(10.02)
    throttle.done(10.02)
    assert not throttle.is_due(11)
    throttle.ask(10.03)
    assert throttle.due == pytest.approx(10.12)


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=50))
def test_pace_loses_no_reason_and_keeps_its_distance(steps: list[float]) -> None:
    throttle, now, done = Throttle(0.1, 0.02), 0.0, []
    asked_since_done = False
    for step in steps:
        now += step
        throttle.ask(now)
        asked_since_done = True
        if throttle.is_due(now):
            throttle.done(now)
            done.append(now)
            asked_since_done = False
    assert (throttle.due is not None) == asked_since_done
    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in itertools.pairwise(done))
