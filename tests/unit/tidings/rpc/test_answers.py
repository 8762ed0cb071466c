"""ByteSemaphore for answers, and the time to read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tidings.rpc import answers as module
from tidings.rpc.answers import Answers, ByteSemaphore, Unread


async def turn() -> None:
    """Lets everybody run who can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_room_goes_to_those_who_asked_first() -> None:
    room = ByteSemaphore(10)
    await room.take(6)
    large = asyncio.create_task(room.take(8))
    small = asyncio.create_task(room.take(1))
    await turn()
    assert not large.done() and not small.done()
    room.give(6)
    await turn()
    assert large.done() and small.done()
    room.give(8)
    room.give(1)
    assert room.is_idle


async def test_who_asks_for_more_than_there_is_gets_all() -> None:
    room = ByteSemaphore(10)
    await room.take(50)
    assert not room.has(1)
    room.give(50)
    assert room.is_idle


async def test_who_stops_waiting_keeps_nothing() -> None:
    room = ByteSemaphore(10)
    await room.take(10)
    waiting = [asyncio.create_task(room.take(10)) for _ in range(2)]
    await turn()
    waiting[0].cancel()
    await turn()
    room.give(10)
    # Its turn has come, and it is cancelled before it runs.
    waiting[1].cancel()
    await turn()
    assert room.is_idle


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def test_a_caller_waits_for_itself_and_no_other_does(stack: AsyncExitStack) -> None:
    answers = Answers(caller_bytes=10, process_bytes=100)
    first = await _enter(stack, answers, "ann")
    second = asyncio.create_task(_enter(stack, answers, "ann"))
    await _enter(stack, answers, "bob")
    assert not second.done()
    await first.aclose()
    await second


async def test_an_answer_that_nobody_reads_ends_sooner_when_others_need_its_room(
    monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack
) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 60.0)
    monkeypatch.setattr(module, "WRITE_SECONDS_WHEN_FULL", 0.0)
    answers = Answers(caller_bytes=10, process_bytes=10)

    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    async def stalled() -> None:
        async with answers.room("eve", 10):
            await answers.write(never, b"x")

    eve = asyncio.create_task(stalled())
    await turn()
    async with asyncio.timeout(5), answers.room("ann", 10):
        pass
    with pytest.raises(Unread):
        await eve


async def _enter(stack: AsyncExitStack, answers: Answers, caller: str) -> AsyncExitStack:
    mine = await stack.enter_async_context(AsyncExitStack())
    await mine.enter_async_context(answers.room(caller, 10))
    return mine
