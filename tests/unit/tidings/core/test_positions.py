"""Positions rise, whatever the clock does, and no two servers give the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tidings.core.positions import EPOCH_MS, MAX_WORKER_ID, Positions, at, time_ms

CLOCK = st.integers(-5_000, 5_000)
"""Milliseconds that the clock moves; it may go back."""


def test_a_position_tells_its_time() -> None:
    clock = FakeClock(1_750_000_000_123)
    position = Positions(clock, 5).next()
    assert time_ms(position) == 1_750_000_000_123
    assert at(1_750_000_000_123) <= position < at(1_750_000_000_124)
    assert at(EPOCH_MS) == at(0) == 0
    assert position < 1 << 63


def test_more_than_4096_in_a_millisecond_borrow_from_the_next() -> None:
    positions = Positions(FakeClock(), 3)
    given_out = [positions.next() for _ in range(10_000)]
    assert given_out == sorted(set(given_out))
    assert time_ms(given_out[-1]) - time_ms(given_out[0]) == 2


@given(st.integers(0, MAX_WORKER_ID), st.lists(st.tuples(CLOCK, st.integers(1, 3)), max_size=60))
def test_each_is_larger_than_the_last_though_the_clock_goes_back(server: int, steps: list[tuple[int, int]]) -> None:
    clock = FakeClock()
    positions = Positions(clock, server)
    last = 0
    for moved, count in steps:
        clock.advance(moved / 1000)
        for _ in range(count):
            position = positions.next()
            assert position > last
            last = position


@given(
    st.integers(0, MAX_WORKER_ID),
    st.integers(0, (1 << 62) - 1),
    st.lists(st.integers(0, (1 << 62) - 1), max_size=9),
)
def test_each_is_larger_than_what_it_has_to_follow(server: int, after: int, heads: list[int]) -> None:
    positions = Positions(FakeClock(), server, after)
    last = after
    for head in heads:
        position = positions.next(head)
        assert position > max(last, head)
        last = position


@given(
    st.integers(0, MAX_WORKER_ID),
    st.integers(0, MAX_WORKER_ID),
    st.lists(st.tuples(st.booleans(), CLOCK, st.booleans()), max_size=60),
)
def test_two_servers_never_give_the_same(one: int, other: int, steps: list[tuple[bool, int, bool]]) -> None:
    if one == other:
        other = (one + 1) % (MAX_WORKER_ID + 1)
    clocks = FakeClock(), FakeClock()
    servers = Positions(clocks[0], one), Positions(clocks[1], other)
    given_out: list[int] = []
    for which, moved, follows in steps:
        clocks[which].advance(moved / 1000)
        # As when a channel moves to the other server: larger than its head.
        given_out.append(servers[which].next(given_out[-1] if follows and given_out else 0))
    assert len(set(given_out)) == len(given_out)


def test_a_restart_with_the_clock_set_back_goes_on_beyond() -> None:
    clock = FakeClock()
    last = Positions(clock).next()
    clock.advance(-3600)
    assert Positions(clock, 0, last).next() > last


@pytest.mark.parametrize("number", [-1, MAX_WORKER_ID + 1])
def test_a_worker_id_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="worker id"):
        Positions(FakeClock(), number)
