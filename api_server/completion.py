"""Finishing what has been begun although nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_under_way: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end even when the call that asked for it is cancelled: the client may hang up at any moment.

    For steps that belong together, such as signing a device out in the storage and then ending its stream.
    """
    task = asyncio.get_running_loop().create_task(work)
    # The loop itself holds its tasks weakly.
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return await asyncio.shield(task)
