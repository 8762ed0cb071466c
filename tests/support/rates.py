"""Rates that several servers share, in memory."""

from __future__ import annotations

import asyncio

from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import SharedRates
from tidings.core.rate import Rate, TokenBucket


class MemoryRates(SharedRates):
    """Buckets of several servers in this process, which may be away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self.away: Refusal | None = None
        self.never: asyncio.Event | None = None

    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        return (await self._bucket(key, rate)).take(rate, self._clock.monotonic(), count)

    async def wait(self, key: str, rate: Rate, count: float = 1.0) -> float:
        return (await self._bucket(key, rate)).wait(rate, self._clock.monotonic(), count)

    async def _bucket(self, key: str, rate: Rate) -> TokenBucket:
        # As with an engine, others run meanwhile.
        await asyncio.sleep(0)
        if self.never is not None:
            await self.never.wait()
        if self.away is not None:
            raise self.away
        return self._buckets.setdefault(key, TokenBucket(rate, self._clock.monotonic()))
