"""Work in the background: again and again, when something has come, or beside whoever starts it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from tidings.core.errors import Refusal, without_message

T = TypeVar("T")

_log = logging.getLogger(__name__)

# The event loop holds its tasks weakly.
_begun: set[asyncio.Task[Any]] = set()


async def periodic(seconds: float, work: Callable[[], Awaitable[object]], *, at_once: bool = False) -> None:
    """Do some work again and again, until cancelled. A round that fails is logged and is not the last one.

    Args:
        seconds: From the end of one round to the beginning of the next.
        work: One round.
        at_once: Whether the first round begins now; otherwise it begins after `seconds`, too.
    """
    if at_once:
        await _round(work)
    while True:
        await asyncio.sleep(seconds)
        await _round(work)


async def whenever(event: asyncio.Event, work: Callable[[], Awaitable[object]], retry_seconds: float) -> None:
    """Do some work whenever an event is set, until cancelled. The event is cleared before each round.

    Args:
        event: Set when there is something to do.
        work: One round, which does all that there is to do.
        retry_seconds: Until a round that failed is tried again; the failure is logged.
    """
    while True:
        await event.wait()
        event.clear()
        if not await _round(work):
            await asyncio.sleep(retry_seconds)
            event.set()


class Turns:
    """Long work on the event loop, in short pieces, of which one runs at a time: everybody else runs between two.

    Args:
        seconds: How long a piece may take.
    """

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds
        self.lock = asyncio.Lock()

    def begin(self) -> Turn:
        """Begin some work."""
        return Turn(self)


class Turn:
    """Work under way. See `Turns.begin`.

    Args:
        turns: Where it takes turns with other such work.
    """

    __slots__ = ("_began", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._began = monotonic()

    async def pass_on(self) -> None:
        """Let others run, if this has had its time, and wait until it is this one's turn again."""
        if monotonic() - self._began > self._turns.seconds:
            async with self._turns.lock:
                await asyncio.sleep(0)
            self._began = monotonic()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run some work to its end even when the call that waits for it is cancelled: a client may hang up at any moment.

    For steps that belong together, such as signing a device out in the storage and then ending its stream. What they
    raise when nobody waits any more is logged, unless it is a refusal.
    """
    task = asyncio.get_running_loop().create_task(work)
    _begun.add(task)
    task.add_done_callback(_begun.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_ended_unheard)
        raise


class TaskSet:
    """Tasks that run beside whoever starts them. The event loop holds its tasks weakly; this holds them until done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start some work that nobody waits for. A refusal ends it: what cannot be done now is left undone."""
        task = asyncio.get_running_loop().create_task(_without_refusal(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _round(work: Callable[[], Awaitable[object]]) -> bool:
    """Do some work once; False when it failed."""
    try:
        await work()
    except Exception as error:
        _log.error("%s failed", work.__qualname__, exc_info=without_message(error))
        return False
    return True


def _ended_unheard(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, Refusal):
        _log.error("work that was begun for a call failed after its end", exc_info=without_message(error))


async def _without_refusal(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Refusal:
        return
