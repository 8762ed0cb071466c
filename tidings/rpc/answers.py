"""Answers that are not read yet: how many bytes of them there may be, and for how long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason

CALLER_BYTES = 8 << 20
"""Of answers to one caller: being made, and written but not read."""
PROCESS_BYTES = 128 << 20
"""Of answers to all callers."""
REQUEST_SECONDS = 10.0
"""Within which the request of a call has to come."""
HANDLING_SECONDS = 30.0
"""Within which an answer is made, with the time that its bytes wait for their turn."""
WRITE_SECONDS = 10.0
"""Within which an answer has to be read."""
WRITE_SECONDS_WHEN_FULL = 1.0
"""The same, while others wait for the room that it takes."""


class Unread(Exception):  # noqa: N818 - what became of the answer
    """The client has not read the answer in time."""


class ByteSemaphore:
    """Bytes that may be taken by those who ask for them, in the order in which they ask.

    Args:
        most: How many there are. Who asks for more than that gets all of them.
    """

    __slots__ = ("_left", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody has any, or waits for some."""
        return self._left == self._most and not self._waiting

    def has(self, count: int) -> bool:
        """Whether `take` would not wait."""
        return not self._waiting and self._left >= min(count, self._most)

    async def take(self, count: int) -> None:
        """Take some bytes, when they are there and whoever asked before has theirs."""
        count = min(count, self._most)
        if self.has(count):
            self._left -= count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(count)
            raise

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._left += min(count, self._most)
        while self._waiting:
            asked, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif asked <= self._left:
                self._waiting.popleft()
                self._left -= asked
                turn.set_result(None)
            else:
                break


class Answers:
    """The answers of one listener.

    Args:
        caller_bytes: Of one caller.
        process_bytes: Of all callers.
    """

    def __init__(self, caller_bytes: int = CALLER_BYTES, process_bytes: int = PROCESS_BYTES) -> None:
        self._caller_bytes = caller_bytes
        self._all = ByteSemaphore(process_bytes)
        self._callers: dict[str, ByteSemaphore] = {}
        # Writes that may be told to hurry, the oldest first, with when they began.
        self._writing: dict[asyncio.Timeout, float] = {}

    @asynccontextmanager
    async def room(self, caller: str, count: int) -> AsyncIterator[None]:
        """Have room for an answer until it is read. Nobody waits for none at all."""
        if not count:
            yield
            return
        mine = self._callers.get(caller)
        if mine is None:
            mine = self._callers[caller] = ByteSemaphore(self._caller_bytes)
        try:
            await mine.take(count)
            try:
                if not self._all.has(count):
                    self._hurry()
                await self._all.take(count)
                try:
                    yield
                finally:
                    self._all.give(count)
            finally:
                mine.give(count)
        finally:
            if mine.is_idle and self._callers.get(caller) is mine:
                del self._callers[caller]

    async def write(self, write: Callable[[bytes], Awaitable[None]], answer: bytes) -> None:
        """Write an answer.

        Raises:
            Unread: It was not read in time. The call can only be reset.
        """
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(WRITE_SECONDS) as scope:
                self._writing[scope] = now
                try:
                    await write(answer)
                finally:
                    self._writing.pop(scope, None)
        except TimeoutError:
            raise Unread from None

    def _hurry(self) -> None:
        """Give those who keep others waiting less time to read."""
        now = asyncio.get_running_loop().time()
        for scope, began in self._writing.items():
            if not scope.expired():
                scope.reschedule(max(now, began + WRITE_SECONDS_WHEN_FULL))
        self._writing.clear()


def too_slow(what: str, seconds: float) -> Refusal:
    """Make a refusal of a call that takes too long."""
    return Refusal(Code.DEADLINE_EXCEEDED, f"{what} within {seconds:.0f} s", reason=Reason.CALL_TOO_SLOW)
