from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    """Waits until something holds that tells nobody when it begins to."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)
