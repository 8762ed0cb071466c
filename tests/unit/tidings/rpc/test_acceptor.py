"""Calls are accepted whatever comes, and whatever happens to what accepts them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.support.http2 import SERVING, Call, Http2, is_well
from tidings.rpc.acceptor import CallAcceptor
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer

SECRET = "a text of" + " somebody"
WATCH = "/grpc.health.v1.Health/Watch"
# Not UTF-8, no path, nothing at all, much, and nearly right.
PATHS = (
    b"/\xff\xfe",
    b"\xff",
    b"/\x80/\xc3\x28",
    b"no slash",
    b"",
    b"/" + b"\xf0" * 4000,
    b"/\xed\xa0\x80/Check",
    WATCH.encode() + b"\xff",
)


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    """A listener with nothing on it but what each has."""
    server = GrpcServer([CallInterceptor(None)])
    yield await server.start("127.0.0.1:0")
    async with asyncio.timeout(5):
        await server.stop(0)


@asynccontextmanager
async def watching(endpoint: str) -> AsyncIterator[Call]:
    """A stream that is open, and has to be at the end."""
    async with await Http2.connect(endpoint) as http:
        call = await http.call(WATCH)
        await call.message(b"", end=True)
        assert await call.read() == [SERVING]
        yield call
        assert await http.ping()
        assert not call.ended.is_set()


@pytest.mark.parametrize("path", PATHS)
async def test_paths_that_are_none(endpoint: str, path: bytes) -> None:
    async with watching(endpoint), await Http2.connect(endpoint) as http:
        for call in [await http.call(path) for _ in range(100)]:
            assert await call.status() is grpc.StatusCode.UNIMPLEMENTED
        assert await http.ping()
        assert await is_well(endpoint)


async def test_paths_that_are_none_from_many(endpoint: str) -> None:
    async def attack(path: bytes) -> None:
        async with await Http2.connect(endpoint) as http:
            # Some hang up without waiting for the answer.
            call = await http.call(path)
            if len(path) % 2:
                await call.status()

    async with watching(endpoint):
        await asyncio.gather(*(attack(path) for path in PATHS * 20))
        assert await is_well(endpoint)


async def test_unknown_methods_leave_nothing_behind(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(endpoint), await Http2.connect(endpoint) as http:
        for n in range(1_000):
            call = await http.call(f"/tidings.v1.ChatService/Method{n}")
            assert await call.status() is grpc.StatusCode.UNIMPLEMENTED
    assert not caplog.records


async def test_the_loop_of_the_library_is_ended_by_force(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(endpoint):
        loops = [task for task in asyncio.all_tasks() if "_server_main_loop" in repr(task)]
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        assert loops
        assert await is_well(endpoint)
        assert ["has ended" in record.message for record in caplog.records] == [True]


async def test_the_core_fails_for_a_moment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    failing = True

    async def request(self: CallAcceptor, path: bytes) -> Any:
        if failing:
            raise RuntimeError(SECRET)
        return await original(self, path)

    original: Any = CallAcceptor._request_registered_call
    monkeypatch.setattr(CallAcceptor, "_request_registered_call", request)
    monkeypatch.setattr("tidings.rpc.acceptor._RETRY_SECONDS", 0.01)
    server = GrpcServer([CallInterceptor(None)])
    endpoint = await server.start("127.0.0.1:0")
    async with await Http2.connect(endpoint) as http:
        call = await http.call("/grpc.health.v1.Health/Check")
        await call.message(b"", end=True)
        assert await http.ping()
        assert not call.ended.is_set()
        failing = False
        assert await call.read() == [SERVING]
    await server.stop(0)
    assert "cannot be accepted" in caplog.text
    assert SECRET not in caplog.text


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
