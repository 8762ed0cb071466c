"""Bytes that are no message, on every method of every listener: a defined answer, and nothing in the log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio

from notifier.service import PushQueueService
from tests.support.mesh import NobodyToWake, little_mesh
from tests.support.processes import ServerProcess
from tests.support.raw import Api, details_of
from tests.support.requests import OPERATORS, PUBLIC, methods
from tests.support.settings import CHEAP_SIGN_UPS
from tidings.internal.v1 import peer_pb2, push_queue_pb2, push_queue_pb2_grpc
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings.v1 import history_pb2

pytestmark = pytest.mark.timeout(120)

# A tag without an end, a length beyond the end, a wire type that there is not, the end of a group that never began.
MALFORMED = (b"\xff" * 11, b"\x0a\x05ab", b"\x0f", b"\x0c")


async def ask(
    channel: aio.Channel, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...], *frames: bytes
) -> aio.AioRpcError | None:
    """What a call ends with that sends these bytes and half-closes; None when it ends well."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    call: Any = channel.stream_stream(path)(metadata=metadata, timeout=20)
    try:
        for frame in frames:
            await call.write(frame)
        await call.done_writing()
        while await call.read() is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return error
    return None


async def check(channel: aio.Channel, files: tuple[Any, ...], metadata: tuple[tuple[str, str], ...] = ()) -> None:
    """Every method refuses what is malformed, and one that takes a request that none comes."""
    for method in methods(files):
        for frame in MALFORMED:
            error = await ask(channel, method, metadata, frame)
            assert error is not None, (method.full_name, frame)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (method.full_name, frame, error)
            assert details_of(error).reason == "MALFORMED_FRAME"
        error = await ask(channel, method, metadata)
        if not method.client_streaming:
            assert error is not None and error.code() is grpc.StatusCode.INVALID_ARGUMENT, (method.full_name, error)
        elif error is not None:
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, (method.full_name, error)


async def test_on_the_public_listener(tmp_path: Path) -> None:
    server = await ServerProcess(tmp_path / "data", config=CHEAP_SIGN_UPS).start()
    api = Api(server.endpoint)
    ann = await api.sign_up("ann")
    await check(api.channel, (*PUBLIC, *OPERATORS), ann.metadata)
    # What is refused before sign-in is refused for that.
    for method in methods((history_pb2,)):
        unary: Any = api.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
        with pytest.raises(aio.AioRpcError) as refused:
            await unary(MALFORMED[0])
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await api.close()
    code, logged = await server.terminate()
    assert code == 0
    # What it says of itself when it starts and stops.
    assert [line for line in logged.splitlines() if " tidings_server.serve: " not in line] == []


async def test_between_servers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with little_mesh(tmp_path, 1) as mesh, aio.insecure_channel(mesh.nodes[0].internal) as channel:
        await check(channel, (peer_pb2, *OPERATORS))
        assert not caplog.records


async def test_at_a_notifier(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = GrpcServer([CallInterceptor(None)])
    push_queue_pb2_grpc.add_PushQueueServiceServicer_to_server(PushQueueService(NobodyToWake()), server.server)
    endpoint = await server.start("127.0.0.1:0")
    async with aio.insecure_channel(endpoint) as channel:
        await check(channel, (push_queue_pb2, *OPERATORS))
    await server.stop(0)
    assert not caplog.records
