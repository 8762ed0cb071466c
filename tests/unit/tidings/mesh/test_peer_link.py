"""The stream to a sequencer, against one that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from tidings.core.requests import ChannelRequest
from tidings.internal.v1 import peer_pb2
from tidings.mesh.peer_link import PeerHandler, PeerLink


class Sequencer:
    """Opens the stream, sends what `sends` holds, and keeps each frame that it gets."""

    def __init__(self) -> None:
        self.sends: asyncio.Queue[peer_pb2.PeerResponse] = asyncio.Queue()
        self.frames: list[list[peer_pb2.PeerRequest]] = []
        self.told = asyncio.Event()

    async def link(self, requests: AsyncIterator[peer_pb2.LinkRequest], context: Any) -> None:
        opened = peer_pb2.PeerResponse(opened=peer_pb2.Opened(epoch="a"))
        await context.write(peer_pb2.LinkResponse(responses=[opened]))
        reading = asyncio.create_task(self._read(requests))
        try:
            while True:
                reply = await self.sends.get()
                await context.write(peer_pb2.LinkResponse(responses=[reply]))
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[peer_pb2.LinkRequest]) -> None:
        async for request in requests:
            if not request.requests[0].HasField("open"):
                self.frames.append(list(request.requests))
                self.told.set()

    async def frame(self) -> list[peer_pb2.PeerRequest]:
        """The next frame."""
        async with asyncio.timeout(10):
            while not self.frames:
                self.told.clear()
                await self.told.wait()
        return self.frames.pop(0)


class Taken(PeerHandler):
    """Takes the events."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def delivered(self, delivery: peer_pb2.Delivery, take_request: Callable[[int], ChannelRequest | None]) -> None:
        self.numbers.append(delivery.number)

    def ephemeral(self, ephemeral: peer_pb2.Ephemeral) -> None:
        raise AssertionError("there is none")

    def newer_stream(self, newer: peer_pb2.NewerStream) -> None:
        raise AssertionError("there is none")

    def deliveries_lost(self) -> None:
        raise AssertionError("nothing was")


Linked = tuple[Sequencer, PeerLink]


@pytest.fixture
async def sequencer() -> AsyncIterator[tuple[Sequencer, PeerLink]]:
    made = Sequencer()
    server = aio.server()
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        made.link,
        request_deserializer=peer_pb2.LinkRequest.FromString,
        response_serializer=peer_pb2.LinkResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tidings.internal.v1.PeerService", {"Link": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    link = PeerLink(lambda: aio.insecure_channel(f"127.0.0.1:{port}"), "s1", Taken())
    task = asyncio.create_task(link.run())
    # It says first that it has read how the stream was opened.
    assert [each.confirm.number for each in await made.frame()] == [0]
    yield made, link
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    link.close()
    await server.stop(None)


async def test_what_members_have_received_is_told_together_and_the_latest_of_it(
    sequencer: Linked,
) -> None:
    server, link = sequencer
    for seq in (1, 2, 3):
        link.received("c", "ann", seq)
    link.received("c", "ben", 2)
    link.received("c", "ben", 1)
    link.received("d", "ann", 9)
    told = [(each.received.channel_id, each.received.user_id, each.received.seq) for each in await server.frame()]
    assert told == [("c", "ann", 3), ("c", "ben", 2), ("d", "ann", 9)]
    link.received("c", "ann", 4)
    assert [each.received.seq for each in await server.frame()] == [4]


async def test_deliveries_that_come_together_are_confirmed_once(sequencer: Linked) -> None:
    server, _ = sequencer
    for number in (1, 2, 3):
        server.sends.put_nowait(peer_pb2.PeerResponse(delivery=peer_pb2.Delivery(number=number, channel_id="c")))
    confirmed = [each.confirm.number for each in await server.frame()]
    assert len(confirmed) == 1
    while confirmed != [3]:
        # They came in parts after all.
        confirmed = [each.confirm.number for each in await server.frame()]
