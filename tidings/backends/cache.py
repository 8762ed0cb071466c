"""A cache that shares reads: among callers that ask for the same key at the same time, and for a moment after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tidings.core.clock import Clock

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, eq=False, slots=True)
class _Read(Generic[ValueT]):
    """A read, under way or done, and when it began."""

    task: asyncio.Task[ValueT | None]
    began_at: float


class ReadThroughCache(Generic[KeyT, ValueT]):
    """Reads values by key. A read, under way or done, serves all callers until it reaches an age.

    So an answer is never older than that age, and contains every change that another process made before. A change by
    this process shows at once if `forget` is called after it. None is not kept, because the value may exist in a
    moment. A failure is not kept either, but the callers that share a read share its failure.

    Args:
        read: Reads the value of a key; None when there is none.
        clock: Tells the age of a read.
        age_s: How old a read may be, in seconds from its beginning; with 0 every caller reads for itself.
        most: How many reads are kept; the oldest go first.
    """

    def __init__(
        self, read: Callable[[KeyT], Awaitable[ValueT | None]], clock: Clock, age_s: float, most: int = 10_000
    ) -> None:
        self._read = read
        self._clock = clock
        self._age_s = age_s
        self._most = most
        # In the order in which they began.
        self._reads: dict[KeyT, _Read[ValueT]] = {}

    def __len__(self) -> int:
        return len(self._reads)

    async def get(self, key: KeyT) -> ValueT | None:
        """Return the value of a key; None when there is none.

        Raises:
            Exception: The exception of the read.
        """
        read = self._reads.get(key)
        if read is None or not self._is_fresh(read) or _is_fruitless(read.task):
            read = self._begin(key)
        # Callers share the read, so a caller that is cancelled must not end it for the others.
        return read.task.result() if read.task.done() else await asyncio.shield(read.task)

    def forget(self, key: KeyT) -> None:
        """Forget the value of a key: callers from now on get the result of a new read."""
        self._reads.pop(key, None)

    def _begin(self, key: KeyT) -> _Read[ValueT]:
        task = asyncio.ensure_future(self._now(key))
        read = _Read(task, self._clock.monotonic())
        self._reads.pop(key, None)
        self._make_room()
        self._reads[key] = read
        task.add_done_callback(lambda done: self._ended(key, read))
        return read

    async def _now(self, key: KeyT) -> ValueT | None:
        return await self._read(key)

    def _ended(self, key: KeyT, read: _Read[ValueT]) -> None:
        if _is_fruitless(read.task) and self._reads.get(key) is read:
            del self._reads[key]

    def _make_room(self) -> None:
        while self._reads:
            oldest = next(iter(self._reads))
            if len(self._reads) < self._most and self._is_fresh(self._reads[oldest]):
                return
            del self._reads[oldest]

    def _is_fresh(self, read: _Read[ValueT]) -> bool:
        return self._clock.monotonic() - read.began_at < self._age_s


def _is_fruitless(task: asyncio.Task[ValueT | None]) -> bool:
    # Asking for the exception also marks it as seen, since perhaps no caller waits any more.
    return task.done() and (task.cancelled() or task.exception() is not None or task.result() is None)
