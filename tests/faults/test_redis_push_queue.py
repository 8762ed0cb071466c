"""The push queue on Redis, where that dies or is asked by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tidings.backends.redis.pipeline import AutoPipeline
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.core.errors import Code, Refusal
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest
from tidings_server.cluster import Redis

NOW = 1_750_000_000_000
LOG = PushProvider.LOG


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Redis]:
    server = Redis(tmp_path / "redis", durable=True)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def pipeline(server: Redis) -> AsyncIterator[AutoPipeline]:
    pipeline = AutoPipeline(server.url)
    yield pipeline
    await pipeline.close()


def push(number: int) -> DevicePush:
    return DevicePush(PushRequest("u1", f"channel-{number}", number, "u2", "text", NOW), "phone", LOG)


async def test_every_acknowledged_push_survives_sigkill(server: Redis, pipeline: AutoPipeline) -> None:
    queue = RedisPushQueue(pipeline)
    await queue.check_durable()
    kept: list[int] = []
    hundred = asyncio.Event()

    async def enqueue(first: int) -> None:
        number = first
        try:
            while True:
                await queue.enqueue([push(number)], NOW)
                kept.append(number)
                number += 8
                if len(kept) >= 100:
                    hundred.set()
        except Refusal:
            # It was killed.
            pass

    writers = [asyncio.create_task(enqueue(first)) for first in range(1, 9)]
    await hundred.wait()
    await server.kill()
    await asyncio.gather(*writers)
    await server.start()
    claimed = [each.push.request.seq for each in await queue.claim(LOG, NOW, 60_000, 1_000_000)]
    assert len(claimed) == len(set(claimed))
    assert set(kept) <= set(claimed)


async def test_two_who_claim_never_get_the_same(server: Redis, pipeline: AutoPipeline) -> None:
    other_pipeline = AutoPipeline(server.url)
    queues = [RedisPushQueue(pipeline), RedisPushQueue(other_pipeline)]
    await queues[0].enqueue([push(number) for number in range(1, 501)], NOW)
    claimed: list[int] = []

    async def claim(queue: RedisPushQueue) -> None:
        while found := await queue.claim(LOG, NOW, 60_000, 7):
            claimed.extend(each.push_id for each in found)

    await asyncio.gather(*map(claim, queues))
    assert len(claimed) == len(set(claimed)) == 500
    await other_pipeline.close()


async def test_nothing_is_left_of_what_is_done_or_dropped(pipeline: AutoPipeline) -> None:
    queue = RedisPushQueue(pipeline)
    await queue.enqueue([push(number) for number in range(1, 4)], NOW)
    one, two, three = [each.push_id for each in await queue.claim(LOG, NOW, 60_000, 10)]
    await queue.done(one)
    await queue.give_up(two, "refused", NOW)
    await queue.give_up(three, "refused", NOW)
    assert await queue.drop(two)
    assert await queue.requeue(three, NOW)
    (again,) = await queue.claim(LOG, NOW, 60_000, 10)
    await queue.done(again.push_id)
    assert await pipeline.call("KEYS", "*") == [b"tidings:push:next"]


async def test_a_redis_that_may_forget_is_refused(tmp_path: Path) -> None:
    server = Redis(tmp_path / "soft")
    await server.start()
    pipeline = AutoPipeline(server.url)
    try:
        with pytest.raises(Refusal) as refused:
            await RedisPushQueue(pipeline).check_durable()
        assert refused.value.code is Code.FAILED_PRECONDITION
        assert refused.value.metadata == {"setting": "appendonly", "needed": "yes", "actual": "no"}
    finally:
        await pipeline.close()
        await server.kill()
