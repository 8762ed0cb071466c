"""Token buckets: a burst, then a rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tidings.core.rate import Rate, RateLimiter, TokenBucket


def test_a_burst_then_the_rate() -> None:
    clock = FakeClock()
    limiter = RateLimiter(Rate(per_second=2, burst=3), clock)
    assert [limiter.take("ann") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.advance(0.4)
    assert limiter.take("ann") == pytest.approx(0.1)
    clock.advance(0.1)
    assert limiter.take("ann") == 0.0
    assert limiter.take("ann") == 0.5


def test_one_key_costs_another_nothing() -> None:
    limiter = RateLimiter(Rate(per_second=1, burst=1), FakeClock())
    assert [limiter.take("ann"), limiter.take("ann"), limiter.take("bob")] == [0.0, 1.0, 0.0]


def test_a_long_rest_gives_no_more_than_the_burst() -> None:
    clock = FakeClock()
    limiter = RateLimiter(Rate(per_second=10, burst=2), clock)
    limiter.take("ann")
    clock.advance(1_000)
    assert [limiter.take("ann") for _ in range(3)] == [0.0, 0.0, 0.1]


def test_a_refusal_takes_nothing() -> None:
    clock = FakeClock()
    limiter = RateLimiter(Rate(per_second=1, burst=5), clock)
    assert limiter.take("ann", 3) == 0.0
    assert limiter.take("ann", 4) == 2.0
    assert limiter.take("ann", 2) == 0.0


def test_many_keys_do_not_fill_the_memory_and_those_in_debt_are_remembered() -> None:
    clock = FakeClock()
    limiter = RateLimiter(Rate(per_second=1, burst=100), clock)
    limiter.take("greedy", 100)
    for n in range(50_000):
        clock.advance(0.001)
        limiter.take(str(n))
    assert limiter.take("greedy", 51) > 0
    assert len(limiter) < 25_000


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 4)), max_size=60))
def test_over_any_time_no_more_than_burst_and_rate_allow(steps: list[tuple[int, int]]) -> None:
    rate = Rate(per_second=2, burst=5)
    bucket = TokenBucket(rate, 0.0)
    now = 0.0
    taken: list[tuple[float, int]] = []
    for wait_ms, count in steps:
        now += wait_ms / 1000
        wait = bucket.take(rate, now, count)
        if wait:
            # No sooner and no later than promised.
            assert bucket.take(rate, now + wait * 0.99, count) > 0
            now += wait + 1e-9
            assert bucket.take(rate, now, count) == 0.0
        taken.append((now, count))
        for start, _ in taken:
            within = sum(each for at, each in taken if at >= start)
            assert within <= rate.burst + (now - start) * rate.per_second + 1e-6


def test_a_bucket_is_full_again_after_its_time() -> None:
    rate = Rate(per_second=2, burst=4)
    bucket = TokenBucket(rate, 10.0)
    assert bucket.is_full(rate, 10.0)
    bucket.take(rate, 10.0, 4)
    assert not bucket.is_full(rate, 11.9)
    assert bucket.is_full(rate, 12.0)
