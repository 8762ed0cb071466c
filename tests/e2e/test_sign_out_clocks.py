"""Sign-outs and a clock that is set: while the server runs, and before it starts again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import aio

from tests.support.clock import FakeClock
from tests.support.raw import Api, Device, details_of
from tidings.v1 import account_pb2
from tidings_server.embedded import EmbeddedEngines, EmbeddedServices
from tidings_server.node import Node
from tidings_server.settings import PasswordSettings, Settings

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def server(folder: Path, clock: FakeClock) -> AsyncIterator[Api]:
    settings = Settings(
        data=folder, listen="127.0.0.1:0", passwords=PasswordSettings(memory_kib=8, iterations=1, parallelism=1)
    )
    node = await Node.open(settings, await EmbeddedEngines.open(settings, clock), EmbeddedServices, clock)
    api = Api(await node.start())
    try:
        yield api
    finally:
        await api.close()
        await node.drain()
        await node.close()


async def revoke(phone: Device, laptop: Device) -> None:
    request = account_pb2.RevokeDeviceRequest(device_id=phone.device_id)
    await laptop.api.accounts.RevokeDevice(request, metadata=laptop.metadata)


async def answer_to(api: Api, device: Device) -> str:
    """What a call with a device's access token gets: OK, or the reason of the refusal."""
    try:
        await api.accounts.ListDevices(account_pb2.ListDevicesRequest(), metadata=device.metadata)
    except aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        return details_of(error).reason
    return "OK"


async def refresh(api: Api, device: Device) -> None:
    request = account_pb2.RefreshTokensRequest(refresh_token=device.tokens.refresh_token)
    device.tokens.CopyFrom((await api.accounts.RefreshTokens(request)).tokens)


@pytest.mark.parametrize("seconds", [-600.0, -2.0, 600.0])
async def test_a_clock_that_is_set_changes_nothing(folder: Path, seconds: float) -> None:
    clock = FakeClock()
    async with server(folder, clock) as api:
        laptop = await api.sign_up("ann")
        phone = await api.log_in(laptop.user.username)
        back = await api.log_in(laptop.user.username)
        await revoke(phone, laptop)
        await revoke(back, laptop)
        clock.set_by(seconds)
        before, back = back, await api.log_in(laptop.user.username, back.device_id)
        assert back.device_id == before.device_id
        for device, answer in ((laptop, "OK"), (phone, "DEVICE_REVOKED"), (before, "DEVICE_REVOKED"), (back, "OK")):
            assert await answer_to(api, device) == answer
    async with server(folder, clock) as api:
        for device, answer in ((laptop, "OK"), (phone, "DEVICE_REVOKED"), (before, "DEVICE_REVOKED"), (back, "OK")):
            assert await answer_to(api, device) == answer


async def test_a_start_while_the_clock_is_far_ahead_forgets_no_sign_out(folder: Path) -> None:
    clock = FakeClock()
    async with server(folder, clock) as api:
        laptop = await api.sign_up("ann")
        phone = await api.log_in(laptop.user.username)
        await revoke(phone, laptop)
    clock.set_by(400 * 86400.0)
    async with server(folder, clock) as api:
        assert await answer_to(api, laptop) == "TOKEN_EXPIRED"
        await refresh(api, laptop)
        assert await answer_to(api, laptop) == "OK"
        clock.advance(2)
        clock.set_by(-400 * 86400.0)
        assert await answer_to(api, phone) == "DEVICE_REVOKED"
        # Made by the wrong clock: it would be good for more than a year.
        assert await answer_to(api, laptop) == "TOKEN_EXPIRED"
        await refresh(api, laptop)
        assert await answer_to(api, laptop) == "OK"


async def test_an_open_stream_outlasts_a_clock_that_is_ahead_for_two_seconds(folder: Path) -> None:
    clock = FakeClock()
    async with server(folder, clock) as api:
        ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
        channel_id = (await ann.direct(bob)).channel_id
        async with ann.stream() as a, bob.stream() as b:
            clock.set_by(400 * 86400.0)
            await a.send(channel_id, "from another year")
            clock.advance(2)
            clock.set_by(-400 * 86400.0)
            await a.send(channel_id, "from this one")
            assert (await b.next("message")).text == "from another year"
            assert (await b.next("message")).text == "from this one"
