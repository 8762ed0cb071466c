"""The way from a chat server to whichever notifier answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from grpc import aio

from notifier.service import PushQueueService
from tidings.backends.memory.registry import MemoryRegistry
from tidings.core.errors import Code, Refusal
from tidings.core.ports import PushSink
from tidings.core.values import PushRead, PushRequest, Server, ServerKind
from tidings.internal.v1 import push_queue_pb2_grpc
from tidings.mesh.notifier_sink import NotifierSink


@dataclass
class Kept(PushSink):
    requests: list[PushRequest] = field(default_factory=list)
    reads: list[PushRead] = field(default_factory=list)
    calls: int = 0

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        self.calls += 1
        self.requests += requests

    async def cancel(self, reads: Sequence[PushRead]) -> None:
        self.calls += 1
        self.reads += reads


@dataclass
class World:
    kept: Kept
    registry: MemoryRegistry
    endpoint: str
    sink: NotifierSink

    async def register(self, *endpoints: str) -> None:
        for endpoint in endpoints:
            await self.registry.register(
                Server(f"n-{endpoint}", ServerKind.NOTIFIER, "", "here", 0.0, internal=endpoint)
            )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    kept, registry, server = Kept(), MemoryRegistry(), aio.server()
    push_queue_pb2_grpc.add_PushQueueServiceServicer_to_server(PushQueueService(kept), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sink = NotifierSink(registry, aio.insecure_channel)
    yield World(kept, registry, f"127.0.0.1:{port}", sink)
    await sink.close()
    await server.stop(None)


def request(number: int) -> PushRequest:
    return PushRequest(f"u{number}", "g1", number, "u0", "text", 1_750_000_000_000)


async def test_requests_arrive_whole_and_a_thousand_a_call(world: World) -> None:
    await world.register(world.endpoint)
    requests = [request(number) for number in range(1, 2_002)]
    await world.sink.enqueue(requests)
    assert (world.kept.requests, world.kept.calls) == (requests, 3)


async def test_reads_arrive_whole_and_a_thousand_a_call(world: World) -> None:
    await world.register(world.endpoint)
    reads = [PushRead(f"u{number}", "g1", number) for number in range(1, 1_002)]
    await world.sink.cancel(reads)
    assert (world.kept.reads, world.kept.calls) == (reads, 2)


async def test_another_notifier_is_asked_when_one_does_not_answer(world: World) -> None:
    await world.register("127.0.0.1:1", world.endpoint)
    for _ in range(8):
        await world.sink.enqueue([request(1)])
        await world.sink.cancel([PushRead("u1", "g1", 1)])
    assert world.kept.calls == 16


async def test_with_none_that_answers_nothing_is_promised(world: World) -> None:
    for endpoints in ([], ["127.0.0.1:1"]):
        await world.register(*endpoints)
        with pytest.raises(Refusal) as refused:
            await world.sink.enqueue([request(1)])
        assert (refused.value.code, refused.value.reason) == (Code.UNAVAILABLE, "NOTIFIER_AWAY")
        with pytest.raises(Refusal):
            await world.sink.cancel([PushRead("u1", "g1", 1)])
