"""The engines of soft state and of the push queue. Another engine is one more entry here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.engines import Engines, EtcdSpace, RedisSpace
from tests.support.memory_routes import MemoryRoutes
from tests.support.memory_sign_outs import MemorySignOutPubSub
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.backends.memory.presence import MemoryPresencePubSub, MemoryPresenceStore
from tidings.backends.memory.registry import MemoryRegistry
from tidings.backends.redis.pipeline import AutoPipeline
from tidings.backends.redis.presence import RedisPresencePubSub, RedisPresenceStore
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.backends.redis.routes import RedisRoutes
from tidings.backends.redis.shards import Shards
from tidings.backends.redis.sign_outs import RedisSignOutPubSub
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.ports import PresencePubSub, PresenceStore, PushQueue, Registry, Routes, SignOutPubSub


@dataclass(frozen=True)
class SoftPorts:
    """The ports of one engine, empty."""

    presence_store: PresenceStore
    presence_news: PresencePubSub
    registry: Registry
    routes: Routes
    sign_outs: SignOutPubSub


@asynccontextmanager
async def memory(_: pytest.FixtureRequest) -> AsyncIterator[SoftPorts]:
    yield SoftPorts(
        MemoryPresenceStore(),
        MemoryPresencePubSub(),
        MemoryRegistry(),
        MemoryRoutes(FakeClock()),
        MemorySignOutPubSub(),
    )


@asynccontextmanager
async def mesh(request: pytest.FixtureRequest, shards: int = 1, etcd_fixture: str = "etcd") -> AsyncIterator[SoftPorts]:
    """Redis and etcd. A shard is a database of its own in the same Redis."""
    engines: Engines = request.getfixturevalue("engines")
    etcd_space: EtcdSpace = request.getfixturevalue(etcd_fixture)
    spaces: list[RedisSpace] = [engines.redis() for _ in range(shards)]
    redis = Shards([space.url for space in spaces], spaces[0].prefix)
    etcd = EtcdClient([etcd_space.address], etcd_space.prefix)
    news, sign_outs, registry = RedisPresencePubSub(redis), RedisSignOutPubSub(redis), EtcdRegistry(etcd)
    await registry.start()
    try:
        yield SoftPorts(RedisPresenceStore(redis), news, registry, RedisRoutes(redis), sign_outs)
    finally:
        await registry.close()
        await etcd.close()
        await news.close()
        await sign_outs.close()
        await redis.close()


def sharded(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[SoftPorts]:
    return mesh(request, shards=3)


def on_debians_etcd(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[SoftPorts]:
    return mesh(request, etcd_fixture="debians_etcd")


SOFT_ENGINES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[SoftPorts]]] = {
    "memory": memory,
    "mesh": mesh,
    "mesh of shards": sharded,
}
REGISTRIES = {**SOFT_ENGINES, "mesh on Debian's etcd": on_debians_etcd}
"""The engines of the registry, which is in etcd: also the etcd that Debian's users have."""


@asynccontextmanager
async def sqlite_queue(request: pytest.FixtureRequest) -> AsyncIterator[PushQueue]:
    folder: Path = request.getfixturevalue("tmp_path")
    database = Database(folder)
    try:
        yield SqlitePushQueue(database)
    finally:
        await database.close()


@asynccontextmanager
async def redis_queue(request: pytest.FixtureRequest) -> AsyncIterator[PushQueue]:
    space: RedisSpace = request.getfixturevalue("durable_redis")
    pipeline = AutoPipeline(space.url)
    try:
        yield RedisPushQueue(pipeline, space.prefix)
    finally:
        await pipeline.close()


PUSH_QUEUES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[PushQueue]]] = {
    "sqlite": sqlite_queue,
    "redis": redis_queue,
}
