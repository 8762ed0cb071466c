"""Headers without end, from a client that acknowledges no settings: gRPC's own bound does not hold against it."""

from __future__ import annotations

import asyncio
import gc

import grpc
import pytest

from tests.support.http2 import CHECK, Http2, is_well
from tests.support.waiting import eventually
from tidings.rpc.header_limit import HEADER_BYTES
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer


@pytest.mark.parametrize("acknowledging", [True, False])
@pytest.mark.parametrize("size", [HEADER_BYTES + 1, 1 << 20])
async def test_they_are_refused_before_a_request_comes(size: int, acknowledging: bool) -> None:
    server = GrpcServer([CallInterceptor(None)])
    endpoint = await server.start("127.0.0.1:0")
    async with await Http2.connect(endpoint, acknowledging=acknowledging) as http:
        assert await http.ping()
        for metadata in ([("x", b"v" * size)], [(f"x{n}", b"v" * 100) for n in range(size // 100)]):
            call = await http.call(CHECK, metadata)
            async with asyncio.timeout(10):
                assert await call.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await is_well(endpoint)
    await server.stop(0)


async def test_a_call_that_was_refused_is_not_kept() -> None:
    """Neither its headers nor its request wait for the garbage collector."""
    server = GrpcServer([CallInterceptor(None)])
    endpoint = await server.start("127.0.0.1:0")
    gc.collect()
    gc.disable()
    try:
        waiting = _calls_in_memory()
        async with await Http2.connect(endpoint) as http:
            for request in (b"\xff" * 1_000, None):
                call = await http.call(CHECK, [("x", b"v" * (1 if request else HEADER_BYTES))])
                if request is not None:
                    await call.message(request, end=True)
                assert await call.status() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
                assert await http.ping()

        async def gone() -> bool:
            return _calls_in_memory() == waiting

        await eventually(gone)
    finally:
        gc.enable()
    await server.stop(0)


def _calls_in_memory() -> int:
    """Counts calls, and long headers."""
    return sum(
        type(each).__name__ == "RPCState" or (type(each).__name__ == "_Metadatum" and len(each.value) >= HEADER_BYTES)
        for each in gc.get_objects()
    )


async def test_usual_headers_pass() -> None:
    server = GrpcServer([CallInterceptor(None)])
    endpoint = await server.start("127.0.0.1:0")
    async with await Http2.connect(endpoint) as http:
        call = await http.call(CHECK, [("x", b"v" * 4_000)], token="t" * 1_000)
        await call.message(b"", end=True)
        assert await call.status() is grpc.StatusCode.OK
    await server.stop(0)
