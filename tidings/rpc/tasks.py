"""Work in the background: again and again, or beside whoever starts it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tidings.core.errors import Refusal, without_message

_log = logging.getLogger(__name__)


async def periodic(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do some work again and again, until cancelled. A round that fails is logged and is not the last one.

    Args:
        seconds: From the end of one round to the beginning of the next; also before the first.
        work: One round.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:
            _log.error("%s failed", work.__qualname__, exc_info=without_message(error))


class TaskSet:
    """Tasks that run beside whoever starts them. The event loop holds its tasks weakly; this holds them until done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start some work that nobody waits for. A refusal ends it: what cannot be done now is left undone."""
        task = asyncio.get_running_loop().create_task(_without_refusal(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _without_refusal(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Refusal:
        return
