"""How long the SDK waits before another attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings_client import Backoff


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
