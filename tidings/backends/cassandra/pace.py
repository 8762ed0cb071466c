"""How many conditional writes are under way at a time: enough to keep a server busy, and no more.

What is asked of a channel while its batch waits goes with it. So when many channels are busy, fewer and larger batches
do the same work at a fraction of its price, here and in the storage; sent at once, they would wait there, one by one
(PACE_FIGURE).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_LEAST = 8
# More batches than these a second no process makes, so more under way than this times what one takes only wait.
_BATCHES_A_SECOND = 1_000
# The least that one takes is forgotten by this much a second, so that a storage that has moved away is noticed.
_FORGOTTEN_A_SECOND = 0.01


class Pace:
    """Lets batches go. It learns how long one takes when nothing is in its way: the least that was seen lately."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Nothing is under way.

        Args:
            monotonic: Tells the time, in seconds.
        """
        self._monotonic = monotonic
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._least = 1.0
        self._seen_at = monotonic()

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return max(_LEAST, round(self._least * _BATCHES_A_SECOND))

    async def ready(self) -> None:
        """Waits until a batch may go; those who came before go first."""
        if self._under_way < self.limit and not self._waiting:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def begin(self) -> float:
        """A batch goes, whether it waited or not; returns what `end` wants."""
        self._under_way += 1
        return self._monotonic()

    def end(self, begun: float, done: bool) -> None:
        """It is over. How long it took tells something if it was `done`."""
        self._under_way -= 1
        if done:
            now = self._monotonic()
            least = self._least * (1 + _FORGOTTEN_A_SECOND * (now - self._seen_at))
            self._least, self._seen_at = min(least, now - begun), now
        self._next()

    def _next(self) -> None:
        while self._waiting and self._under_way < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                # Whoever it was begins before the next one's turn, or has nothing to write after all.
                asyncio.get_running_loop().call_soon(self._next)
                return
