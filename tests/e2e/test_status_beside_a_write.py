"""A stream that the server ends gets its status, also when its client has not read what was written before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.support.http2 import Call, Http2
from tests.support.processes import ServerProcess
from tests.support.raw import Api, Device
from tests.support.settings import UNLIMITED
from tidings.v1 import account_pb2, chat_pb2

CONVERSE = "/tidings.v1.ChatService/Converse"
TRACK = "/tidings.v1.PresenceService/Track"
HELLO = chat_pb2.ConverseRequest(commands=[chat_pb2.Command(hello=chat_pb2.Hello())]).SerializeToString()
# Nothing may be written at all; the first message is cut in two; some are through, and one of the later ones waits.
WINDOWS = (0, 7, 30_000)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with ServerProcess(tmp_path / "data", config=UNLIMITED) as server:
        api = Api(server.endpoint)
        yield api
        await api.close()
        async with asyncio.timeout(10):
            code, log = await server.terminate()
        assert (code, "Traceback" in log) == (0, False)


async def status_once_it_reads(http: Http2, call: Call) -> grpc.StatusCode | None:
    assert await http.ping()
    await http.give(1 << 20)
    await call.give(1 << 20)
    async with asyncio.timeout(5):
        return await call.status()


async def sign_out(device: Device) -> None:
    request = account_pb2.RevokeDeviceRequest(device_id=device.device_id)
    await device.api.accounts.RevokeDevice(request, metadata=device.metadata)


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_chat_stream(api: Api, window: int) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel = (await ann.direct(bob)).channel_id
    async with bob.stream() as b:
        for end, expected in ((None, grpc.StatusCode.ABORTED), (sign_out, grpc.StatusCode.UNAUTHENTICATED)):
            async with await Http2.connect(api.endpoint, window=window, reading=False) as http:
                call = await http.call(CONVERSE, token=ann.tokens.access_token)
                await call.message(HELLO)
                assert await http.ping()
                for _ in range(10):
                    assert (await b.send(channel, "x" * 5_000)).HasField("accepted")
                if end is None:
                    async with ann.stream():
                        pass
                else:
                    await end(ann)
                assert await status_once_it_reads(http, call) is expected


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_presence_stream(api: Api, window: int) -> None:
    ann = await api.sign_up("ann")
    async with await Http2.connect(api.endpoint, window=window, reading=False) as http:
        first = await http.call(TRACK, token=ann.tokens.access_token)
        assert await http.ping()
        second = await http.call(TRACK, token=ann.tokens.access_token)
        assert await status_once_it_reads(http, first) is grpc.StatusCode.ABORTED
        await sign_out(ann)
        assert await status_once_it_reads(http, second) is grpc.StatusCode.UNAUTHENTICATED
