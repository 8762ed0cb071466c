"""One listener, spoken to in HTTP/2 by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from tests.support.http2 import CHECK, SERVING, Http2, is_well
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    """A listener with nothing on it but what each has."""
    server = GrpcServer([CallInterceptor(None)])
    yield await server.start("127.0.0.1:0")
    await server.stop(0)


async def test_a_call(endpoint: str) -> None:
    assert await is_well(endpoint)


async def test_a_method_that_is_not_there(endpoint: str) -> None:
    async with await Http2.connect(endpoint) as http:
        call = await http.call("/none.Such/Method")
        assert await call.status() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("data", [b"\0" * 4096, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\xff"])
async def test_garbage(endpoint: str, data: bytes) -> None:
    async with await Http2.connect(endpoint, greet=False) as http:
        await http.send(data)
        await http.half_close()
        await http.closed.wait()
    assert await is_well(endpoint)


async def test_a_client_that_lets_nothing_be_sent(endpoint: str) -> None:
    async with await Http2.connect(endpoint, window=0, reading=False) as http:
        call = await http.call(CHECK)
        await call.message(b"", end=True)
        assert await http.ping()
        assert not call.ended.is_set()
        await call.give(len(SERVING) + 5)
        assert await call.read() == [SERVING]
        assert await call.status() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("host", "code"), [("127.0.0.1", grpc.StatusCode.OK), ("0.0.0.0", grpc.StatusCode.UNIMPLEMENTED)]
)
async def test_channelz_is_for_loopback_where_no_certificate_says_who_calls(host: str, code: grpc.StatusCode) -> None:
    server = GrpcServer([CallInterceptor(None)])
    listening = await server.start(f"{host}:0", plaintext=True)
    try:
        async with await Http2.connect(f"127.0.0.1:{listening.rpartition(':')[2]}") as http:
            call = await http.call("/grpc.channelz.v1.Channelz/GetServers")
            await call.message(b"", end=True)
            assert await call.status() is code
    finally:
        await server.stop(0)
