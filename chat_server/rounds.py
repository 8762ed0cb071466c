"""What has to be done from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tidings.core.failures import without_message

_log = logging.getLogger(__name__)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Does some work again and again, `seconds` after the last time, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:
            # One bad round must not be the last one.
            _log.error("%s failed", work.__qualname__, exc_info=without_message(error))
