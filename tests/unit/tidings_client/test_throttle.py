"""When the SDK does together what it is asked for one by one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings_client._throttle import Throttle


def test_it_is_soon_after_quiet_and_no_more_often_than_its_interval() -> None:
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
def test_it_loses_no_reason_and_keeps_its_distance(steps: list[float]) -> None:
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
