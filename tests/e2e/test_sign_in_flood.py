"""Thousands who guess passwords or make accounts from one address, at what a hash really costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.processes import ServerProcess
from tests.support.raw import PASSWORD, Api
from tests.support.waiting import seconds_of
from tidings.v1 import account_pb2

pytestmark = pytest.mark.timeout(180)

# The client says whose address it has, as a proxy would.
CONFIG = 'trusted_proxies = ["127.0.0.0/8"]\n'
HERE, ELSEWHERE = ((("x-forwarded-for", address),) for address in ("192.0.2.1", "198.51.100.1"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = await ServerProcess(tmp_path / "data", config=CONFIG).start()
    yield process
    await process.kill()


@pytest.fixture
async def api(server: ServerProcess) -> AsyncIterator[Api]:
    made = Api(server.endpoint)
    yield made
    await made.close()


def guess(api: Api, number: int) -> Awaitable[Any]:
    request = account_pb2.LogInRequest(username=f"nobody-{number}", password="a wrong guess")
    return api.accounts.LogIn(request, metadata=HERE, timeout=60)


def join(api: Api, number: int) -> Awaitable[Any]:
    request = account_pb2.SignUpRequest(username=f"somebody-{number}", password=PASSWORD)
    return api.accounts.SignUp(request, metadata=HERE, timeout=60)


@pytest.mark.parametrize(("attempt", "count"), [(guess, 3_000), (join, 1_500)])
async def test_others_chat_and_log_in(
    server: ServerProcess, api: Api, attempt: Callable[[Api, int], Awaitable[Any]], count: int
) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel_id = (await ann.direct(bob)).channel_id
    flooding = Api(server.endpoint)
    codes: dict[grpc.StatusCode, int] = {}

    async def one(number: int) -> None:
        code = grpc.StatusCode.OK
        try:
            await attempt(flooding, number)
        except aio.AioRpcError as error:
            code = error.code()
        codes[code] = codes.get(code, 0) + 1

    async with ann.stream() as stream:
        flood = [asyncio.create_task(one(number)) for number in range(count)]
        # Once they are on their way.
        await asyncio.sleep(0)
        sent: list[float] = []
        log_in = account_pb2.LogInRequest(username=bob.user.username, password=PASSWORD, device_id=bob.device_id)
        for _ in range(4):
            assert await seconds_of(api.accounts.LogIn(log_in, metadata=ELSEWHERE)) < 2.0
            sent += [await seconds_of(stream.send(channel_id, "hello")) for _ in range(25)]
        assert sorted(sent)[98] < 0.1
        await asyncio.gather(*flood)
    # Some have an answer, most are told to come later: by the server, or by gRPC's core, which refuses streams. On a
    # machine that is busy with other things, some wait for as long as an answer may take.
    answered = codes.get(grpc.StatusCode.UNAUTHENTICATED, 0) + codes.get(grpc.StatusCode.OK, 0)
    refused = codes.get(grpc.StatusCode.RESOURCE_EXHAUSTED, 0) + codes.get(grpc.StatusCode.UNAVAILABLE, 0)
    assert answered + refused + codes.get(grpc.StatusCode.DEADLINE_EXCEEDED, 0) == count
    assert answered > 0
    assert refused > count / 2
    await flooding.close()
