"""A queue of pushes, looked at from outside the process that works on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import eventually
from tidings.backends.redis.pipeline import AutoPipeline
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.ports import PushQueue


@asynccontextmanager
async def queue_at(where: str) -> AsyncIterator[PushQueue]:
    """The queue in a Redis, by its URL, or in a data folder."""
    if where.startswith("redis:"):
        pipeline = AutoPipeline(where)
        yield RedisPushQueue(pipeline)
        await pipeline.close()
    else:
        database = Database(Path(where), beside=(Path(where) / "tidings.db").exists())
        yield SqlitePushQueue(database)
        await database.close()


async def waiting(where: str) -> int:
    """How many pushes wait there."""
    async with queue_at(where) as queue:
        return (await queue.depth()).waiting


async def is_drained(where: str) -> None:
    """Waits until nothing is left in the queue."""

    async def is_empty() -> bool:
        return await waiting(where) == 0

    await eventually(is_empty, 240)
