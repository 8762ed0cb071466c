"""Calls under way when their device is signed out, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from tests.support.clock import FakeClock
from tests.support.raw import details_of
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls, caller
from tidings.rpc.tasks import to_the_end
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier

pytestmark = pytest.mark.timeout(20)

LIFETIME_MS = 900_000
Work = Callable[[], Awaitable[object]]


class World:
    """A server on loopback with one method of each kind, whose work the test says."""

    def __init__(self) -> None:
        clock, key = FakeClock(), Ed25519PrivateKey.generate()
        self.calls = LiveCalls()
        self.work: Work = self.rest
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.done: list[str] = []
        self.issuer = TokenIssuer(key, "k", clock, LIFETIME_MS)
        verifier = TokenVerifier({"k": key.public_key()}, clock, Revocations(clock, LIFETIME_MS))
        self.server = aio.server(interceptors=(CallInterceptor(verifier, self.calls),))
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Ask": grpc.unary_unary_rpc_method_handler(self.ask, Empty.FromString, bytes),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, Empty.FromString, bytes),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tidings.Test", methods),))
        self.channel: Any = aio.insecure_channel(f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}")

    async def rest(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.done.append(caller().device_id)

    async def ask(self, _: Empty, context: object) -> bytes:
        await self.work()
        return b"answer"

    async def watch(self, _: Empty, context: object) -> AsyncIterator[bytes]:
        yield b"first"
        await self.work()
        yield b"second"

    async def talk(self, _: object, context: Any) -> None:
        self.begun.set()
        while await context.read() is not aio.EOF:
            await context.write(b"heard")

    def metadata(self, device_id: str) -> tuple[tuple[str, str]]:
        return (("authorization", f"Bearer {self.issuer.issue('ann', device_id)[0]}"),)

    def asked(self, device_id: str) -> Any:
        return self.channel.unary_unary("/tidings.Test/Ask")(b"", metadata=self.metadata(device_id))

    def watched(self, device_id: str) -> Any:
        return self.channel.unary_stream("/tidings.Test/Watch")(b"", metadata=self.metadata(device_id))

    def talked(self, device_id: str) -> Any:
        return self.channel.stream_stream("/tidings.Test/Talk")(metadata=self.metadata(device_id))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.server.start()
    yield world
    await world.channel.close()
    await world.server.stop(None)


async def revoked(call: Awaitable[object]) -> None:
    with pytest.raises(aio.AioRpcError) as error:
        await call
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details_of(error.value).reason == "DEVICE_REVOKED"


async def test_a_stream_ends_whose_client_has_said_nothing(world: World) -> None:
    call = world.talked("phone")
    await world.begun.wait()
    another = world.talked("laptop")
    await another.write(b"hello")
    await another.read()
    await world.calls.end_devices({"phone": 0})
    await revoked(call.read())
    await another.write(b"still here")
    assert await another.read() == b"heard"


async def test_an_answer_in_several_parts_ends_between_two_of_them(world: World) -> None:
    call = world.watched("phone")
    assert await call.read() == b"first"
    await world.begun.wait()
    await world.calls.end_devices({"phone": 0})
    await revoked(call.read())
    assert world.done == []


async def test_a_call_is_carried_out_before_the_sign_out_is_done_and_its_answer_withheld(world: World) -> None:
    call = world.asked("phone")
    await world.begun.wait()
    sign_out = asyncio.create_task(world.calls.end_devices({"phone": 0}))
    await asyncio.sleep(0)
    assert not sign_out.done()
    world.go_on.set()
    await sign_out
    assert world.done == ["phone"]
    await revoked(call)


async def test_a_call_that_does_not_come_to_its_end_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.rpc.live_calls._FINISH_SECONDS", 0.05)
    call = world.asked("phone")
    await world.begun.wait()
    await world.calls.end_devices({"phone": 0})
    await revoked(call)
    assert world.done == []


async def test_a_call_that_signs_its_own_device_out_is_answered(world: World) -> None:
    world.work = lambda: to_the_end(world.calls.end_devices({"phone": 0, "laptop": 0}))
    laptop = world.talked("laptop")
    await world.begun.wait()
    assert await world.asked("phone") == b"answer"
    await revoked(laptop.read())


async def test_two_devices_that_sign_each_other_out_do_not_wait_for_each_other(world: World) -> None:
    async def sign_out() -> None:
        await world.rest()
        await world.calls.end_devices({"laptop" if caller().device_id == "phone" else "phone": 0})

    world.work = sign_out
    phone, laptop = world.asked("phone"), world.asked("laptop")
    while len(world.calls) < 2:
        await asyncio.sleep(0.01)
    world.go_on.set()
    async with asyncio.timeout(1):
        ends = await asyncio.gather(phone, laptop, return_exceptions=True)
    assert b"answer" in ends


async def test_a_client_that_hangs_up_leaves_nothing_behind(world: World) -> None:
    call = world.asked("phone")
    await world.begun.wait()
    call.cancel()
    while len(world.calls):
        await asyncio.sleep(0.01)
