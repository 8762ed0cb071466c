"""The background tasks of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from tidings_chat.shown import ShownLine
from tidings_chat.text import explain
from tidings_client import SignedOutError, TidingsError


class SessionTasks:
    """Keeps the session's background tasks, and ends the session when one of them fails for good.

    A refusal by a server is shown, and the session goes on. The end of the sign-in, an error in this program, and any
    failure of a vital task end it.

    Args:
        failed: Shows, in words, what a server refused.
    """

    def __init__(self, failed: Callable[[ShownLine], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[None, None, None], *, is_vital: bool = False) -> None:
        """Starts a task.

        Args:
            work: What the task does.
            is_vital: Whether the session ends when it fails.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._settle(task, is_vital))

    def end(self) -> None:
        """Ends the session in good order: `until_ended` returns."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def until_ended(self) -> None:
        """Waits for the end of the session, and cancels the tasks that are left.

        Raises:
            TidingsError: A task ended the session with it; `SignedOutError` and `ReplacedError` are such.
        """
        try:
            await self._ended
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _settle(self, task: asyncio.Task[None], is_vital: bool) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if is_vital or isinstance(error, SignedOutError) or not isinstance(error, TidingsError):
            if not self._ended.done():
                self._ended.set_exception(error)
        else:
            self._failed(explain(error))
