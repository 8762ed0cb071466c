from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from time import monotonic


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    """Waits until something holds that tells nobody when it begins to."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)


async def seconds_of(work: Awaitable[object]) -> float:
    """How long it takes; on a machine on which more wants to run than can, how long it would take where it can."""
    began = monotonic()
    await work
    crowd = os.getloadavg()[0] / (os.cpu_count() or 1)
    return (monotonic() - began) / max(1.0, crowd)
