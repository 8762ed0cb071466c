"""`DiscoveryService` over real gRPC, without the other services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from discovery.recommender import NearestFirst
from discovery.service import DiscoveryService
from tests.support.clock import FakeClock
from tests.support.raw import details_of
from tidings.backends.memory.registry import MemoryRegistry
from tidings.core.values import Server, ServerKind
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.tokens import Revocations, TokenVerifier
from tidings.v1 import discovery_pb2, discovery_pb2_grpc

FRANKFURT = Server("frankfurt", ServerKind.CHAT, "10.0.0.1:7000", "eu", 0.25, 50.11, 8.68)
NEW_YORK = Server("new-york", ServerKind.CHAT, "10.0.0.2:7000", "us", 0.5, 40.71, -74.01)
PRESENCE = Server("frankfurt", ServerKind.PRESENCE, "10.0.0.1:7001", "eu", 0.0)


class World:
    """A discovery server on loopback."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.registry = MemoryRegistry()
        key = Ed25519PrivateKey.generate().public_key()
        self.server = aio.server(
            interceptors=(CallInterceptor(TokenVerifier({"key": key}, clock, Revocations(clock, 1)), LiveCalls()),)
        )
        service = DiscoveryService(NearestFirst(self.registry), self.registry)
        discovery_pb2_grpc.add_DiscoveryServiceServicer_to_server(service, self.server)
        self.channel = aio.insecure_channel(f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}")
        self.stub = discovery_pb2_grpc.DiscoveryServiceStub(self.channel)

    async def recommended(self, **asked: Any) -> list[str]:
        answer = await self.stub.RecommendServers(discovery_pb2.RecommendServersRequest(**asked))
        return [server.server_id for server in answer.servers]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    for server in (FRANKFURT, NEW_YORK, PRESENCE):
        await world.registry.register(server)
    await world.server.start()
    yield world
    await world.channel.close()
    await world.server.stop(None)


async def view(call: Any) -> list[discovery_pb2.Server]:
    async with asyncio.timeout(10):
        return list((await call.read()).servers)


async def test_servers_are_recommended_without_a_sign_in_with_all_that_the_contract_shows(world: World) -> None:
    answer = await world.stub.RecommendServers(discovery_pb2.RecommendServersRequest(region="eu"))
    assert list(answer.servers) == [
        discovery_pb2.Server(
            server_id="frankfurt",
            kind=discovery_pb2.SERVER_KIND_CHAT,
            endpoint="10.0.0.1:7000",
            region="eu",
            load=0.25,
        ),
        discovery_pb2.Server(
            server_id="new-york",
            kind=discovery_pb2.SERVER_KIND_CHAT,
            endpoint="10.0.0.2:7000",
            region="us",
            load=0.5,
        ),
    ]


async def test_kind_place_and_exclusion_are_heeded(world: World) -> None:
    assert await world.recommended(kind=discovery_pb2.SERVER_KIND_PRESENCE) == ["frankfurt"]
    assert await world.recommended(region="us") == ["new-york", "frankfurt"]
    boston = discovery_pb2.Coordinates(latitude=42.36, longitude=-71.06)
    assert await world.recommended(region="eu", coordinates=boston) == ["new-york", "frankfurt"]
    assert await world.recommended(region="eu", exclude_server_ids=["frankfurt"]) == ["new-york", "frankfurt"]


async def test_no_server_is_unavailable_with_a_time_to_ask_again(world: World) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await world.recommended(kind=discovery_pb2.SERVER_KIND_API)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    details = details_of(refused.value)
    assert details.reason == "NO_SERVER"
    assert details.retry is not None
    assert details.retry.retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"kind": 9}, "kind"),
        ({"kind": 100}, "kind"),
        ({"coordinates": discovery_pb2.Coordinates(latitude=90.5)}, "coordinates.latitude"),
        ({"coordinates": discovery_pb2.Coordinates(longitude=-181)}, "coordinates.longitude"),
        ({"coordinates": discovery_pb2.Coordinates(latitude=float("nan"))}, "coordinates.latitude"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_field(world: World, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await world.recommended(**asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).fields == [field]


async def test_watching_shows_the_servers_at_once_and_at_every_change(world: World) -> None:
    call = world.stub.WatchServers(discovery_pb2.WatchServersRequest())
    assert [each.server_id for each in await view(call)] == ["frankfurt", "new-york"]
    await world.registry.register(replace(NEW_YORK, load=0.75))
    assert [each.load for each in await view(call)] == [0.25, 0.75]
    await world.registry.unregister("frankfurt", ServerKind.PRESENCE)
    await world.registry.unregister("frankfurt", ServerKind.CHAT)
    assert [each.server_id for each in await view(call)] == ["new-york"]
    await world.registry.unregister("new-york", ServerKind.CHAT)
    assert await view(call) == []
    call.cancel()


async def test_watching_what_is_not_there_yet_waits_for_it(world: World) -> None:
    call = world.stub.WatchServers(discovery_pb2.WatchServersRequest(kind=discovery_pb2.SERVER_KIND_API))
    assert await view(call) == []
    await world.registry.register(Server("api", ServerKind.API, "10.0.0.3:7000", "eu", 0.0))
    assert [each.endpoint for each in await view(call)] == ["10.0.0.3:7000"]
    call.cancel()


async def test_watching_an_unknown_kind_is_refused(world: World) -> None:
    call = world.stub.WatchServers(discovery_pb2.WatchServersRequest(kind=9))  # type: ignore[arg-type] # the point
    with pytest.raises(aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).fields == ["kind"]
