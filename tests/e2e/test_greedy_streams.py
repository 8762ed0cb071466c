"""Streams that send as much as they can: what it costs is theirs to bear."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.processes import ServerProcess
from tests.support.raw import Api, Device, details_of, end_of
from tests.support.settings import CHEAP_SIGN_UPS
from tests.support.waiting import seconds_of
from tidings.v1 import chat_pb2, presence_pb2

pytestmark = pytest.mark.timeout(180)

_FRAME = 1 << 20
_PEOPLE = 10
_SECONDS = 2.0
CONVERSE = "/tidings.v1.ChatService/Converse"


def frame(command: chat_pb2.Command, count: int) -> bytes:
    return chat_pb2.ConverseRequest(commands=[command] * count).SerializeToString()


def megabyte(command: chat_pb2.Command) -> bytes:
    return frame(command, 1) * ((_FRAME - 1) // len(frame(command, 1)))


HELLO = frame(chat_pb2.Command(hello=chat_pb2.Hello()), 1)
EMPTY = chat_pb2.Command()
TYPING = chat_pb2.Command(set_typing=chat_pb2.SetTyping(channel_id="c", typing=True))
ACKNOWLEDGE = chat_pb2.Command(acknowledge=chat_pb2.Acknowledge(position=1))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = await ServerProcess(tmp_path / "data", config=CHEAP_SIGN_UPS).start()
    yield process
    await process.kill()


@pytest.fixture
async def api(server: ServerProcess) -> AsyncIterator[Api]:
    made = Api(server.endpoint)
    yield made
    await made.close()


def open_stream(channel: aio.Channel, device: Device) -> Any:
    """A stream of bytes."""
    return channel.stream_stream(CONVERSE)(metadata=device.metadata)


async def attack(endpoint: str, device: Device, payload: bytes, compression: grpc.Compression) -> None:
    """Sends a frame again and again, over a new stream whenever one has ended."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with aio.insecure_channel(endpoint, options=options, compression=compression) as channel:
        while True:
            call = open_stream(channel, device)
            with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(HELLO)
                while True:
                    await call.write(payload)
                    await asyncio.sleep(0)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize(
    "payload",
    [megabyte(EMPTY), megabyte(TYPING), megabyte(ACKNOWLEDGE), frame(EMPTY, 256), frame(TYPING, 256)],
    ids=["empty", "typing", "acknowledge", "256 empty", "256 typing"],
)
async def test_others_go_on(server: ServerProcess, api: Api, payload: bytes, compression: grpc.Compression) -> None:
    greedy = [await api.sign_up("eve") for _ in range(_PEOPLE)]
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as stream, asyncio.TaskGroup() as group:
        attacks = [group.create_task(attack(server.endpoint, each, payload, compression)) for each in greedy]
        until = monotonic() + _SECONDS
        while monotonic() < until:
            assert await seconds_of(stream.send(channel_id, "hello")) < 1.0
            assert await seconds_of(api.log_in(bob.user.username, bob.device_id)) < 1.0
            assert await seconds_of(ann.group(bob)) < 1.0
        for each in attacks:
            each.cancel()


async def test_a_frame_has_at_most_256_commands(api: Api) -> None:
    ann = await api.sign_up("ann")
    async with ann.stream() as stream:
        await stream.write(*[chat_pb2.Command(command_id=n, set_typing=TYPING.set_typing) for n in range(1, 257)])
        assert [(await stream.next("command_result")).command_id for _ in range(256)] == list(range(1, 257))
        await stream.write(*[EMPTY] * 257)
        error = await end_of(stream.call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error).fields == ["commands"]
    assert details_of(error).info.metadata["limit"] == "256"


async def test_who_is_too_fast_waits_and_is_refused_nothing(tmp_path: Path) -> None:
    config = f"{CHEAP_SIGN_UPS}\n[rates.commands]\nper_second = 50\nburst = 10\n"
    server = await ServerProcess(tmp_path / "slow", config=config).start()
    api = Api(server.endpoint)
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as stream:
        began = monotonic()
        for n in range(60):
            send = chat_pb2.SendMessage(client_message_id=f"m{n}", channel_id=channel_id, text=str(n))
            await stream.write(chat_pb2.Command(command_id=n + 1, send_message=send))
        results = [await stream.next("command_result") for _ in range(60)]
        assert [(each.command_id, each.accepted.seq) for each in results] == [(n + 1, n + 1) for n in range(60)]
        # Ten at once, and the others fifty a second.
        assert monotonic() - began > 0.9
        # A stream that is held ends like any other.
        for n in range(60):
            await stream.write(chat_pb2.Command(command_id=100 + n, set_typing=TYPING.set_typing))
        async with ann.stream():
            assert (await end_of(stream.call)).code() is grpc.StatusCode.ABORTED
    await api.close()
    await server.kill()


async def test_heartbeats_without_an_end_hold_nobody_up(api: Api) -> None:
    eve, bob = await api.sign_up("eve"), await api.sign_up("bob")
    presence = await api.presence()
    track: Any = presence.Track
    call = track(metadata=eve.metadata)

    async def beat() -> None:
        while True:
            await call.write(presence_pb2.TrackRequest())

    beating = asyncio.create_task(beat())
    for _ in range(20):
        assert await seconds_of(bob.group()) < 1.0
    beating.cancel()
    call.cancel()
