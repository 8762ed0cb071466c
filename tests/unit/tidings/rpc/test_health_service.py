"""Health, by hand: who asks, who watches, and who watches without reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.http2 import CHECK, Http2
from tidings.rpc import health_service
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings.v1 import chat_pb2

WATCH = "/grpc.health.v1.Health/Watch"


def ask(service: str) -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=service).SerializeToString())


def answer(status: str) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())


@dataclass
class World:
    server: GrpcServer
    endpoint: str


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = GrpcServer([CallInterceptor(None)])
    server.serves(chat_pb2.DESCRIPTOR)
    yield World(server, await server.start("127.0.0.1:0"))
    await server.stop(0)


@pytest.mark.parametrize("service", ["", "tidings.v1.ChatService"])
async def test_who_watches_is_told_of_each_change(world: World, service: str) -> None:
    async with await Http2.connect(world.endpoint) as http:
        watch = await http.call(WATCH)
        await watch.message(ask(service), end=True)
        assert await watch.read() == [answer("SERVING")]
        world.server.drain()
        assert await watch.read() == [answer("NOT_SERVING")]
        check = await http.call(CHECK)
        await check.message(ask(service), end=True)
        assert await check.read() == [answer("NOT_SERVING")]
        assert not watch.ended.is_set()


async def test_it_is_alive_while_it_drains(world: World) -> None:
    world.server.drain()
    async with await Http2.connect(world.endpoint) as http:
        check = await http.call(CHECK)
        await check.message(ask("alive"), end=True)
        assert await check.read() == [answer("SERVING")]


async def test_all_services_at_once(world: World) -> None:
    async with await Http2.connect(world.endpoint) as http:
        call = await http.call("/grpc.health.v1.Health/List")
        await call.message(b"", end=True)
        statuses = health_pb2.HealthListResponse.FromString((await call.read())[0]).statuses
        assert {name: each.status for name, each in statuses.items()} == {
            "": 1,
            "alive": 1,
            "tidings.v1.ChatService": 1,
        }


async def test_a_service_that_is_not_there(world: World) -> None:
    async with await Http2.connect(world.endpoint) as http:
        check, watch = await http.call(CHECK), await http.call(WATCH)
        for call in (check, watch):
            await call.message(ask("nobody"), end=True)
        assert await check.status() is grpc.StatusCode.NOT_FOUND
        assert await watch.read() == [answer("SERVICE_UNKNOWN")]


async def test_who_watches_and_reads_nothing_holds_up_nobody(world: World) -> None:
    async with await Http2.connect(world.endpoint, window=0, reading=False) as http:
        stuck = await http.call(WATCH)
        await stuck.message(ask(""), end=True)
        assert await http.ping()
        async with await Http2.connect(world.endpoint) as other:
            watch = await other.call(WATCH)
            await watch.message(ask(""), end=True)
            assert await watch.read() == [answer("SERVING")]
            world.server.drain()
            assert await watch.read() == [answer("NOT_SERVING")]
        # Had it read, it would have been told both.
        await stuck.give(1_000)
        assert await stuck.read(2) == [answer("SERVING"), answer("NOT_SERVING")]
    async with asyncio.timeout(5):
        await world.server.stop(0)


async def test_so_many_watch_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_service, "WATCHERS", 3)
    async with await Http2.connect(world.endpoint) as http:
        watching = [await http.call(WATCH) for _ in range(3)]
        for watch in watching:
            await watch.message(ask(""), end=True)
            assert await watch.read() == [answer("SERVING")]
        refused = await http.call(WATCH)
        await refused.message(ask(""), end=True)
        assert await refused.status() is grpc.StatusCode.UNIMPLEMENTED
        await watching[0].reset()
        assert await http.ping()
        again = await http.call(WATCH)
        await again.message(ask(""), end=True)
        assert await again.read() == [answer("SERVING")]
