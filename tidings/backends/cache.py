"""Reads that are shared: by those who ask for the same at the same time, and for a moment after."""

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
    task: asyncio.Task[ValueT | None]
    began_at: float


class ReadThroughCache(Generic[KeyT, ValueT]):
    """Reads by key; a read, under way or done, serves whoever asks while it is younger than an age.

    An answer is therefore never older than that: a change made elsewhere before is in it. A change made here shows at
    once, if `forget` is called after it. None is never kept: what is not there may be there in a moment. Neither is a
    failure, but those who share a read share its failure.
    """

    def __init__(
        self, read: Callable[[KeyT], Awaitable[ValueT | None]], clock: Clock, age_s: float, most: int = 10_000
    ) -> None:
        """Reads with `read`.

        Args:
            read: Finds what belongs to a key.
            clock: Tells the age of a read.
            age_s: How old a read may be, in seconds, counted from its beginning; with 0 all read for themselves.
            most: How many reads are kept; the oldest go first.
        """
        self._read = read
        self._clock = clock
        self._age_s = age_s
        self._most = most
        # In order of beginning.
        self._reads: dict[KeyT, _Read[ValueT]] = {}

    def __len__(self) -> int:
        return len(self._reads)

    async def get(self, key: KeyT) -> ValueT | None:
        """What belongs to a key.

        Raises:
            Exception: What the read raised.
        """
        read = self._reads.get(key)
        if read is None or not self._is_fresh(read) or _is_fruitless(read.task):
            read = self._begin(key)
        # The read is not one caller's: who hangs up does not end it for the others.
        return read.task.result() if read.task.done() else await asyncio.shield(read.task)

    def forget(self, key: KeyT) -> None:
        """Whoever asks from now on gets what a read finds that begins after this."""
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
    # Asking for the exception also marks it as seen: perhaps nobody waits any more.
    return task.done() and (task.cancelled() or task.exception() is not None or task.result() is None)
