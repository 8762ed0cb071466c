"""The circuit breaker alone."""

from __future__ import annotations

from notifier.breaker import Breaker, BreakerPolicy
from tests.support.clock import FakeClock


def breaker(clock: FakeClock, **given: float) -> Breaker:
    policy = {"failures": 3, "first": 1.0, "longest": 4.0, "draw": lambda: 1.0} | given
    return Breaker(clock, BreakerPolicy(**policy))  # type: ignore[arg-type]  # the mapping holds what each is


def opened(clock: FakeClock, **given: float) -> Breaker:
    found = breaker(clock, **given)
    assert [found.failed(found.era) for _ in range(3)] == [False, False, True]
    return found


def test_it_opens_after_some_failures_in_a_row() -> None:
    found = breaker(FakeClock())
    found.failed(found.era)
    found.failed(found.era)
    assert not found.succeeded()
    found.failed(found.era)
    found.failed(found.era)
    assert (found.is_open, found.free_slots(9), found.wait()) == (False, 9, 0.0)
    assert found.failed(found.era)
    assert (found.is_open, found.free_slots(9), found.wait()) == (True, 0, 1.0)


def test_after_the_wait_one_may_ask_and_the_others_wait_for_it() -> None:
    clock = FakeClock()
    found = opened(clock)
    clock.advance(1)
    assert found.free_slots(9) == 1
    found.ask()
    assert (found.free_slots(9), found.wait()) == (0, None)
    assert found.succeeded()
    assert (found.is_open, found.free_slots(9)) == (False, 9)


def test_each_failure_to_come_back_doubles_the_wait_up_to_the_longest() -> None:
    clock = FakeClock()
    found = opened(clock)
    waits = []
    for _ in range(4):
        clock.advance(found.wait() or 0)
        found.ask()
        assert not found.failed(found.era), "that is no news"
        waits.append(found.wait())
    assert waits == [2.0, 4.0, 4.0, 4.0]
    found.succeeded()
    assert [found.failed(found.era) for _ in range(3)] == [False, False, True]
    assert found.wait() == 1.0, "it began anew"


def test_half_of_the_wait_is_drawn() -> None:
    clock = FakeClock()
    assert opened(clock, draw=lambda: 0.0).wait() == 0.5  # type: ignore[arg-type]  # see above


def test_it_waits_as_long_as_the_provider_asks_but_not_for_ever() -> None:
    found = breaker(FakeClock(), failures=1)
    found.failed(found.era, after=100.0)
    assert found.wait() == 100.0
    found = breaker(FakeClock(), failures=1)
    found.failed(found.era, after=1e9)
    assert found.wait() == 3_600.0


def test_what_began_before_it_opened_does_not_count_again() -> None:
    found = breaker(FakeClock())
    era = found.era
    for _ in range(3):
        found.failed(era)
    assert [found.failed(era) for _ in range(60)] == [False] * 60
    assert found.wait() == 1.0


def test_one_that_asked_and_learned_nothing_lets_another_ask() -> None:
    clock = FakeClock()
    found = opened(clock)
    clock.advance(1)
    found.ask()
    found.undecided(found.era)
    assert found.free_slots(9) == 1
