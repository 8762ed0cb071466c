from __future__ import annotations

import asyncio

import pytest

from tests.support.clock import FakeClock
from tidings.backends.cache import ReadThroughCache


class Shelf:
    """Answers reads when it is told to."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self._waiting: asyncio.Queue[asyncio.Future[str | None]] = asyncio.Queue()

    async def read(self, key: str) -> str | None:
        self.reads.append(key)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(answer)
        return await answer

    async def answer(self, value: str | None) -> None:
        (await self._waiting.get()).set_result(value)

    async def fail(self, error: Exception) -> None:
        (await self._waiting.get()).set_exception(error)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def cache(clock: FakeClock, shelf: Shelf) -> ReadThroughCache[str, str]:
    return ReadThroughCache(shelf.read, clock, 2.0, most=3)


async def asking(cache: ReadThroughCache[str, str], *keys: str) -> list[asyncio.Task[str | None]]:
    """Asks, and returns once all have looked."""
    tasks = [asyncio.get_running_loop().create_task(cache.get(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_those_who_ask_at_the_same_time_share_a_read(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    one, two, other = await asking(cache, "a", "a", "b")
    await shelf.answer("A")
    await shelf.answer("B")
    assert [await one, await two, await other] == ["A", "A", "B"]
    assert shelf.reads == ["a", "b"]


async def test_an_answer_serves_until_it_is_too_old(
    cache: ReadThroughCache[str, str], shelf: Shelf, clock: FakeClock
) -> None:
    (first,) = await asking(cache, "a")
    await shelf.answer("A")
    assert await first == "A"
    clock.advance(1.999)
    assert await cache.get("a") == "A"
    clock.advance(0.001)
    (later,) = await asking(cache, "a")
    await shelf.answer("changed")
    assert await later == "changed"
    assert await cache.get("a") == "changed"
    assert shelf.reads == ["a", "a"]


async def test_the_age_counts_from_when_the_read_began(
    cache: ReadThroughCache[str, str], shelf: Shelf, clock: FakeClock
) -> None:
    (slow,) = await asking(cache, "a")
    clock.advance(2)
    (next_one,) = await asking(cache, "a")
    assert shelf.reads == ["a", "a"]
    await shelf.answer("old")
    await shelf.answer("new")
    assert [await slow, await next_one, await cache.get("a")] == ["old", "new", "new"]


async def test_a_read_under_way_when_the_key_is_forgotten_serves_nobody_else(
    cache: ReadThroughCache[str, str], shelf: Shelf
) -> None:
    (before,) = await asking(cache, "a")
    cache.forget("a")
    (after,) = await asking(cache, "a")
    await shelf.answer("old")
    await shelf.answer("new")
    assert [await before, await after, await cache.get("a")] == ["old", "new", "new"]


async def test_an_answer_is_forgotten(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    cache.forget("a")
    (first,) = await asking(cache, "a")
    await shelf.answer("A")
    await first
    cache.forget("a")
    (second,) = await asking(cache, "a")
    await shelf.answer("B")
    assert await second == "B"


async def test_what_is_not_there_is_asked_for_again(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    one, two = await asking(cache, "a", "a")
    await shelf.answer(None)
    assert [await one, await two] == [None, None]
    (later,) = await asking(cache, "a")
    await shelf.answer("A")
    assert await later == "A"
    assert shelf.reads == ["a", "a"]


async def test_a_failure_is_for_those_who_shared_the_read_only(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    one, two = await asking(cache, "a", "a")
    await shelf.fail(ValueError("away"))
    for each in (one, two):
        with pytest.raises(ValueError, match="away"):
            await each
    (later,) = await asking(cache, "a")
    await shelf.answer("A")
    assert await later == "A"


async def test_who_hangs_up_leaves_the_read_to_the_others(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    one, two = await asking(cache, "a", "a")
    one.cancel()
    await shelf.answer("A")
    assert await two == "A"
    assert one.cancelled()


async def test_a_failure_that_nobody_waits_for_is_quiet(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    (only,) = await asking(cache, "a")
    only.cancel()
    await shelf.fail(ValueError("away"))
    (later,) = await asking(cache, "a")
    await shelf.answer("A")
    assert await later == "A"
    assert complaints == []


async def test_only_so_many_are_kept_the_latest(cache: ReadThroughCache[str, str], shelf: Shelf) -> None:
    for key in ("a", "b", "c", "d"):
        (task,) = await asking(cache, key)
        await shelf.answer(key.upper())
        await task
    assert len(cache) == 3
    assert [await cache.get(key) for key in ("b", "c", "d")] == ["B", "C", "D"]
    assert shelf.reads == ["a", "b", "c", "d"]


async def test_what_is_too_old_goes_when_another_is_read(
    cache: ReadThroughCache[str, str], shelf: Shelf, clock: FakeClock
) -> None:
    for key in ("a", "b"):
        (task,) = await asking(cache, key)
        await shelf.answer("x")
        await task
    clock.advance(2)
    (task,) = await asking(cache, "c")
    await shelf.answer("x")
    await task
    assert len(cache) == 1


async def test_without_an_age_all_read_for_themselves(shelf: Shelf, clock: FakeClock) -> None:
    fresh = ReadThroughCache(shelf.read, clock, 0)
    one, two = await asking(fresh, "a", "a")
    await shelf.answer("A")
    await shelf.answer("B")
    assert [await one, await two] == ["A", "B"]
