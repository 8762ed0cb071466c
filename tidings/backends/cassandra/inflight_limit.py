"""How many conditional writes are under way at a time: enough to keep a server busy, and no more.

What is asked of a channel while its batch waits goes with it. So when many channels are busy, fewer and larger batches
do the same work at a fraction of its price, here and in the storage; sent at once, they would wait there, one by one.
Fifty busy pairs on two servers: 3.9 messages a batch instead of 2.9.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

_LEAST = 8
# More batches than these a second no process makes, so more under way than this times what one takes only wait.
_BATCHES_A_SECOND = 1_000
# The least that one takes is forgotten by this much a second, so that a storage that has moved away is noticed.
_FORGOTTEN_A_SECOND = 0.01
# Those that take longer keep nobody waiting any more: a partition whose nodes hang must not hold up the others.
_COUNTS_SECONDS = 0.25


Begun = tuple[int, float]


class InflightLimit:
    """Lets batches go. It learns how long one takes when nothing is in its way: the least that was seen lately."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Nothing is under way.

        Args:
            monotonic: Tells the time, in seconds.
        """
        self._monotonic = monotonic
        # By number, the oldest first: when those began that count.
        self._under_way: dict[int, float] = {}
        self._numbers = itertools.count()
        self._look: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._least = 1.0
        self._seen_at = monotonic()

    @property
    def allowed(self) -> int:
        """How many may be under way."""
        return max(_LEAST, round(self._least * _BATCHES_A_SECOND))

    async def ready(self) -> None:
        """Waits until a batch may go; those who came before go first."""
        if not self._waiting and not self._is_full():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._look_later()
        await turn

    def begin(self) -> Begun:
        """A batch goes, whether it waited or not; returns what `end` wants."""
        begun = next(self._numbers), self._monotonic()
        self._under_way[begun[0]] = begun[1]
        return begun

    def end(self, begun: Begun, done: bool) -> None:
        """It is over. How long it took tells something if it was `done`."""
        number, since = begun
        self._under_way.pop(number, None)
        if done:
            now = self._monotonic()
            least = self._least * (1 + _FORGOTTEN_A_SECOND * (now - self._seen_at))
            self._least, self._seen_at = min(least, now - since), now
        self._next()

    def _is_full(self) -> bool:
        under_way, since = self._under_way, self._monotonic() - _COUNTS_SECONDS
        while under_way and next(iter(under_way.values())) <= since:
            del under_way[next(iter(under_way))]
        return len(under_way) >= self.allowed

    def _next(self) -> None:
        while self._waiting and not self._is_full():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                # Whoever it was begins before the next one's turn, or has nothing to write after all.
                asyncio.get_running_loop().call_soon(self._next)
                return

    def _look_later(self) -> None:
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_COUNTS_SECONDS, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self._next()
        if self._waiting:
            self._look_later()
