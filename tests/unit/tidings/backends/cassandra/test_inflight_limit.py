"""How many conditional writes are under way at a time."""

from __future__ import annotations

import asyncio

from tests.support.clock import FakeClock
from tidings.backends.cassandra.inflight_limit import Begun, InflightLimit


def learned(clock: FakeClock, seconds: float) -> InflightLimit:
    """One that has seen a batch take so long."""
    limit = InflightLimit(clock.monotonic)
    begun = limit.begin()
    clock.advance(seconds)
    limit.end(begun, done=True)
    return limit


async def settled() -> None:
    """All that can go on has."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_longer_a_batch_takes_the_more_are_under_way() -> None:
    clock = FakeClock()
    assert learned(clock, 0.001).allowed == 8
    assert learned(clock, 0.050).allowed == 50


def test_the_least_counts_and_is_forgotten_slowly() -> None:
    clock = FakeClock()
    limit = learned(clock, 0.020)
    begun = limit.begin()
    clock.advance(0.5)
    limit.end(begun, done=True)
    assert limit.allowed == 20
    begun = limit.begin()
    clock.advance(100)
    limit.end(begun, done=True)
    assert limit.allowed == 40


def test_what_failed_tells_nothing() -> None:
    clock = FakeClock()
    limit = learned(clock, 0.050)
    limit.end(limit.begin(), done=False)
    assert limit.allowed == 50


async def test_batches_beyond_the_limit_wait_and_go_in_order() -> None:
    clock = FakeClock()
    limit = learned(clock, 0.001)
    begun: list[tuple[int, Begun]] = []

    async def batch(number: int) -> None:
        await limit.ready()
        begun.append((number, limit.begin()))

    tasks = [asyncio.create_task(batch(number)) for number in range(12)]
    await settled()
    assert [number for number, _ in begun] == list(range(8))
    limit.end(begun[0][1], done=True)
    await settled()
    assert [number for number, _ in begun] == list(range(9))
    for _, at in begun[1:]:
        limit.end(at, done=True)
    await asyncio.gather(*tasks)
    assert [number for number, _ in begun] == list(range(12))


async def test_one_who_gave_up_or_has_nothing_to_write_keeps_nobody_waiting() -> None:
    limit = learned(FakeClock(), 0.001)
    begun = [limit.begin() for _ in range(8)]
    waiting = [asyncio.create_task(limit.ready()) for _ in range(4)]
    await settled()
    assert not any(each.done() for each in waiting)
    waiting[0].cancel()
    # One place is enough for all: none of them begins.
    limit.end(begun[0], done=True)
    await asyncio.gather(*waiting[1:])


async def test_batches_that_hang_hold_nobody_up() -> None:
    clock = FakeClock()
    limit = learned(clock, 0.001)
    begun = [limit.begin() for _ in range(8)]
    waiting = asyncio.create_task(limit.ready())
    await settled()
    assert not waiting.done()
    clock.advance(0.3)
    # None of them has ended.
    await asyncio.wait_for(waiting, 5)
    for each in begun:
        limit.end(each, done=False)
    await limit.ready()
