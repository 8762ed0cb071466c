"""Work in the background."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Iterator

import pytest

from tidings.core.errors import unavailable
from tidings.core.reasons import Reason
from tidings.rpc.tasks import TaskSet, periodic, to_the_end, whenever

_NEVER = 1_000.0


class Rounds:
    """Work that can be made to fail, and tells how often it was done."""

    def __init__(self) -> None:
        self.done = 0
        self.failing = 0
        self._changed = asyncio.Condition()

    async def work(self) -> None:
        async with self._changed:
            self.done += 1
            self._changed.notify_all()
        if self.failing:
            self.failing -= 1
            raise RuntimeError("on purpose")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.done >= count)


@contextlib.contextmanager
def running(work: Awaitable[None]) -> Iterator[asyncio.Future[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()


async def test_the_first_round_waits_unless_told_otherwise() -> None:
    waiting, at_once = Rounds(), Rounds()
    with running(periodic(_NEVER, waiting.work)), running(periodic(_NEVER, at_once.work, at_once=True)):
        await at_once.until(1)

        assert waiting.done == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_round_that_fails_is_logged_and_not_the_last(caplog: pytest.LogCaptureFixture, at_once: bool) -> None:
    rounds = Rounds()
    rounds.failing = 1
    with running(periodic(0.001, rounds.work, at_once=at_once)):
        await rounds.until(3)

    assert [record.message for record in caplog.records] == ["Rounds.work failed"]


async def test_work_is_done_once_for_all_that_came_before_it() -> None:
    event, rounds = asyncio.Event(), Rounds()
    event.set()
    with running(whenever(event, rounds.work, _NEVER)):
        event.set()
        await rounds.until(1)
        event.set()
        await rounds.until(2)

        assert rounds.done == 2 and not event.is_set()


async def test_what_comes_during_a_round_makes_another() -> None:
    event, done = asyncio.Event(), asyncio.Event()
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            event.set()
        else:
            done.set()

    event.set()
    with running(whenever(event, work, _NEVER)):
        async with asyncio.timeout(10):
            await done.wait()

    assert rounds == 2


async def test_a_failed_round_is_tried_again_though_nothing_comes(caplog: pytest.LogCaptureFixture) -> None:
    event, rounds = asyncio.Event(), Rounds()
    rounds.failing = 2
    event.set()
    with running(whenever(event, rounds.work, 0.001)):
        await rounds.until(3)

    assert [record.message for record in caplog.records] == ["Rounds.work failed"] * 2


async def test_work_goes_to_its_end_although_its_caller_is_gone() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await go_on.wait()
        ended.set()
        return "done"

    caller = asyncio.ensure_future(to_the_end(work()))
    async with asyncio.timeout(10):
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        await ended.wait()

    assert await to_the_end(work()) == "done"


@pytest.mark.parametrize(
    ("error", "logged"),
    [(unavailable("the engine is away", Reason.ENGINE_UNAVAILABLE), 0), (ValueError("a secret"), 1)],
)
async def test_what_goes_on_without_its_caller_tells_only_of_faults(
    error: Exception, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        raise error

    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    before = asyncio.all_tasks()
    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    go_on.set()
    await asyncio.wait(asyncio.all_tasks() - before)
    gc.collect()

    assert unhandled == []
    assert len(caplog.records) == logged
    assert "a secret" not in caplog.text


async def test_a_task_beside_ends_quietly_with_a_refusal() -> None:
    async def work() -> None:
        raise unavailable("the engine is away", Reason.ENGINE_UNAVAILABLE)

    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    before = asyncio.all_tasks()
    TaskSet().start(work())
    await asyncio.wait(asyncio.all_tasks() - before)
    # The loop tells of an error that nobody has seen when its task is collected.
    gc.collect()

    assert unhandled == []
