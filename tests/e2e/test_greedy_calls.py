"""Calls that take and give nothing back: a stalled request, an answer that nobody reads. Others notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import grpc
import pytest

from tests.support.http2 import Http2
from tests.support.processes import ServerProcess
from tests.support.raw import Api, Device
from tests.support.settings import UNLIMITED
from tidings.v1 import account_pb2, history_pb2

pytestmark = pytest.mark.timeout(180)

_MOST = 64 << 20
LIST_MESSAGES = "/tidings.v1.HistoryService/ListMessages"
GET_USER = "/tidings.v1.AccountService/GetUser"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = await ServerProcess(tmp_path / "data", config=UNLIMITED).start()
    yield process
    await process.kill()


@pytest.fixture
async def api(server: ServerProcess) -> AsyncIterator[Api]:
    made = Api(server.endpoint)
    yield made
    await made.close()


async def get(device: Device) -> None:
    await device.api.accounts.GetUser(
        account_pb2.GetUserRequest(user_id=device.user_id), metadata=device.metadata, timeout=1
    )


async def test_pages_that_nobody_reads(server: ServerProcess, api: Api) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as stream:
        for _ in range(30):
            await stream.send(channel_id, "x" * 99_000)
    page = history_pb2.ListMessagesRequest(channel_id=channel_id, page_size=200)
    answer = await api.history.ListMessages(page, metadata=ann.metadata)
    assert answer.ByteSize() > 2_500_000

    before = server.rss()
    async with await Http2.connect(server.endpoint, window=0, reading=False) as http:
        calls = [await http.call(LIST_MESSAGES, token=ann.tokens.access_token) for _ in range(400)]
        for call in calls:
            await call.message(page.SerializeToString(), end=True)
        assert await http.ping()
        # The room is taken, and all others are told no or wait for it.
        async with asyncio.timeout(5):
            refused = [call for call in calls[256:] if await call.status() is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert len(refused) == 400 - 256
        assert server.rss() - before < _MOST
        for _ in range(10):
            began = monotonic()
            await get(bob)
            await bob.api.history.ListMessages(page, metadata=bob.metadata, timeout=1)
            assert monotonic() - began < 1.0
        # Who does not read at all is not waited for.
        async with asyncio.timeout(60):
            await calls[0].ended.wait()
            await calls[1].ended.wait()
        assert calls[0].reset_by_server is not None
        assert server.rss() - before < _MOST


async def test_ten_thousand_calls_without_a_request(server: ServerProcess, api: Api) -> None:
    ann = await api.sign_up("ann")
    before = server.rss()
    async with await Http2.connect(server.endpoint) as http:
        calls = [await http.call(GET_USER, token=ann.tokens.access_token) for _ in range(10_000)]
        assert await http.ping()
        assert server.rss() - before < _MOST
        bob = await api.sign_up("bob")
        for _ in range(10):
            began = monotonic()
            await get(bob)
            assert monotonic() - began < 1.0
        async with asyncio.timeout(30):
            ends = [await call.status() for call in calls]
        assert set(ends) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED, None}
        assert ends.count(grpc.StatusCode.DEADLINE_EXCEEDED) > 0
        assert server.rss() - before < _MOST
        await get(ann)
        # The connection itself is well.
        call = await http.call(GET_USER, token=ann.tokens.access_token)
        await call.message(account_pb2.GetUserRequest(user_id=ann.user_id).SerializeToString(), end=True)
        assert await call.status() is grpc.StatusCode.OK
