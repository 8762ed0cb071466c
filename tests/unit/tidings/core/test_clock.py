"""The steady time: what it is while the machine's clock does what it likes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.clock import SystemClock

START_MS = 1_750_000_000_000
DAY = 86_400


class Machine:
    """A machine whose clock may be set while it runs."""

    def __init__(self) -> None:
        self.wall_ns = START_MS * 1_000_000
        self.elapsed_ns = 77
        self.clock = SystemClock(lambda: self.wall_ns, lambda: self.elapsed_ns)

    def run(self, seconds: float, steps: int = 100) -> None:
        for _ in range(steps):
            passed = round(seconds * 1e9 / steps)
            self.wall_ns += passed
            self.elapsed_ns += passed
            self.clock.now_ms()

    def set(self, seconds: float) -> None:
        self.wall_ns += round(seconds * 1e9)

    def since_start(self) -> float:
        return (self.clock.now_ms() - START_MS) / 1000


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_clock_that_is_right_is_the_steady_time(machine: Machine) -> None:
    machine.run(100)
    assert machine.clock.now_ms() == machine.clock.wall_ms() == START_MS + 100_000
    assert machine.clock.ahead_seconds() == 0


@pytest.mark.parametrize("seconds", [400 * DAY, -600.0, 60.0, -400 * DAY])
def test_a_clock_that_is_wrong_for_two_seconds_moves_the_steady_time_by_a_tenth(
    machine: Machine, seconds: float
) -> None:
    machine.run(10)
    machine.set(seconds)
    assert machine.clock.wall_ms() == START_MS + round((10 + seconds) * 1000)
    machine.run(2)
    assert machine.since_start() == pytest.approx(12 + (0.1 if seconds > 0 else -0.1), abs=0.002)
    machine.set(-seconds)
    machine.run(3)
    # And it is right again.
    assert machine.clock.now_ms() == machine.clock.wall_ms() == START_MS + 15_000


@pytest.mark.parametrize("seconds", [60.0, -60.0])
def test_a_clock_that_was_set_right_is_followed_at_three_seconds_a_minute(machine: Machine, seconds: float) -> None:
    machine.set(seconds)
    machine.run(600)
    assert machine.clock.ahead_seconds() == pytest.approx(seconds / 2, abs=0.01)
    machine.run(601)
    assert machine.clock.now_ms() == machine.clock.wall_ms()


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1000)), max_size=20))
def test_it_never_goes_back_and_never_passes_faster_or_slower_than_by_a_twentieth(
    moves: list[tuple[float, float]],
) -> None:
    machine = Machine()
    for jump, seconds in moves:
        machine.set(jump)
        before = machine.clock.now_ms()
        machine.run(seconds, steps=3)
        passed = machine.clock.now_ms() - before
        assert 950 * seconds - 2 <= passed <= 1050 * seconds + 2


def test_the_machines_own_clock_is_where_it_begins() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - clock.wall_ms()) <= 1
