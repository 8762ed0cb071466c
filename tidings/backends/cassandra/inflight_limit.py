"""A limit on conditional writes under way: enough to keep a server busy, and no more.

Requests that reach a channel while its batch waits go with that batch. So when many channels are busy, fewer and larger
batches do the same work at a fraction of the price, here and in the storage. Sent at once, the batches would wait in
the storage, one by one. Fifty busy pairs on two servers: 3.9 messages a batch instead of 2.9.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

_LEAST = 8
# No process makes more batches than this a second. Batches under way beyond this times the least duration only wait.
_BATCHES_A_SECOND = 1_000
# The least duration grows by this part a second, so that a storage that has become slower is noticed.
_FORGOTTEN_A_SECOND = 0.01
# A batch that takes longer does not count any more: a partition whose nodes hang must not hold up the others.
_COUNTS_SECONDS = 0.25


Begun = tuple[int, float]
"""A batch under way: its number, and when it began."""


class InflightLimit:
    """Limits how many batches are under way at a time.

    It learns how long a batch takes when nothing is in its way: the least duration that was seen lately.

    Args:
        monotonic: Tells the time, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # When the batches began that count, by number, oldest first.
        self._under_way: dict[int, float] = {}
        self._numbers = itertools.count()
        self._look: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._least = 1.0
        self._seen_at = monotonic()

    @property
    def allowed(self) -> int:
        """How many batches may be under way."""
        return max(_LEAST, round(self._least * _BATCHES_A_SECOND))

    async def ready(self) -> None:
        """Wait until a batch may go. Callers go in the order in which they came."""
        if not self._waiting and not self._is_full():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._look_later()
        await turn

    def begin(self) -> Begun:
        """Note that a batch goes, whether it has waited or not.

        Returns:
            The batch, for `end`.
        """
        begun = next(self._numbers), self._monotonic()
        self._under_way[begun[0]] = begun[1]
        return begun

    def end(self, begun: Begun, done: bool) -> None:
        """Note that a batch is over.

        Args:
            begun: The batch.
            done: Whether it was written, so that its duration tells how fast the storage is.
        """
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
                # The caller begins before the next one's turn, or has nothing to write after all.
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
