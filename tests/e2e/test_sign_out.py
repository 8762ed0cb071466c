"""What a device that is signed out can still do: nothing, on whatever it had opened before."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.support.http2 import Http2
from tests.support.raw import PASSWORD, Api, Device, Stream, details_of, end_of
from tidings.v1 import account_pb2, chat_pb2, chat_pb2_grpc, history_pb2, presence_pb2

pytestmark = pytest.mark.timeout(60)

COMPOSITIONS = ("embedded", "mesh")

LONG_MESSAGES = 20
BEAT = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())


async def log_out(phone: Device, _: Device) -> None:
    await phone.api.accounts.LogOut(account_pb2.LogOutRequest(), metadata=phone.metadata)


async def revoke(phone: Device, laptop: Device) -> None:
    request = account_pb2.RevokeDeviceRequest(device_id=phone.device_id)
    await phone.api.accounts.RevokeDevice(request, metadata=laptop.metadata)


async def change_password(_: Device, laptop: Device) -> None:
    request = account_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another battery")
    await laptop.api.accounts.ChangePassword(request, metadata=laptop.metadata)


async def reuse_token(phone: Device, _: Device) -> None:
    request = account_pb2.RefreshTokensRequest(refresh_token=phone.tokens.refresh_token)
    await phone.api.accounts.RefreshTokens(request)
    with pytest.raises(aio.AioRpcError) as reused:
        await phone.api.accounts.RefreshTokens(request)
    assert details_of(reused.value).reason == "REFRESH_TOKEN_REUSED"


SIGN_OUTS = (log_out, revoke, change_password, reuse_token)
SignOut = Callable[[Device, Device], Awaitable[None]]


async def two_devices(api: Api) -> tuple[Device, Device]:
    laptop = await api.sign_up("ann")
    return await api.log_in(laptop.user.username), laptop


async def assert_revoked(call: Any) -> None:
    # On the server that was asked at once, on the others within 5 s.
    async with asyncio.timeout(5):
        error = await end_of(call)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details_of(error).reason == "DEVICE_REVOKED"


@pytest.mark.parametrize("sign_out", SIGN_OUTS)
async def test_a_stream_that_has_said_nothing_ends(api: Api, sign_out: SignOut) -> None:
    phone, laptop = await two_devices(api)
    async with laptop.stream():
        call = phone.open()
        # A later call on the same connection: the stream is open by then.
        await presence_of(phone)
        await sign_out(phone, laptop)
        await assert_revoked(call)


@pytest.mark.parametrize("sign_out", SIGN_OUTS)
async def test_hello_after_the_sign_out_gets_nothing(api: Api, sign_out: SignOut) -> None:
    phone, laptop = await two_devices(api)
    bob = await api.sign_up("bob")
    channel_id = (await laptop.direct(bob)).channel_id
    async with bob.stream() as b:
        await b.send(channel_id, "for signed-in devices only")
    stream = Stream(phone.open())
    await presence_of(phone)
    await sign_out(phone, laptop)
    try:
        await stream.write(chat_pb2.Command(hello=chat_pb2.Hello()))
    except (aio.AioRpcError, asyncio.InvalidStateError):
        pass
    else:
        with pytest.raises(aio.AioRpcError):
            await stream.event()
    await assert_revoked(stream.call)


@pytest.mark.parametrize("sign_out", SIGN_OUTS)
async def test_an_open_track_ends(api: Api, sign_out: SignOut) -> None:
    phone, laptop = await two_devices(api)
    stub: Any = await api.presence()
    call = stub.Track(metadata=phone.metadata)
    await call.write(BEAT)
    assert await call.read() is not aio.EOF
    await sign_out(phone, laptop)
    await assert_revoked(call)


async def test_a_replay_ends_between_two_events(api: Api) -> None:
    phone, laptop = await two_devices(api)
    bob = await api.sign_up("bob")
    channel_id = (await laptop.direct(bob)).channel_id
    async with bob.stream() as b:
        for number in range(LONG_MESSAGES):
            await b.send(channel_id, "x" * 100_000, f"{number}")
    # What may wait on the way stays at the 64 KiB of HTTP/2, instead of growing with the speed of loopback.
    channel = aio.insecure_channel(
        phone.servers[0].endpoint, (("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))
    )
    try:
        stream = Stream(chat_pb2_grpc.ChatServiceStub(channel).Converse(metadata=phone.metadata))
        await stream.write(chat_pb2.Command(hello=chat_pb2.Hello()))
        await stream.next("message")
        await revoke(phone, laptop)
        got = 1
        with pytest.raises(aio.AioRpcError):
            while await stream.next("message"):
                got += 1
        await assert_revoked(stream.call)
    finally:
        await channel.close()
    assert got < LONG_MESSAGES / 2


async def test_a_page_of_history_that_is_not_read_is_not_sent_after_the_sign_out(api: Api, endpoint: str) -> None:
    phone, laptop = await two_devices(api)
    bob = await api.sign_up("bob")
    channel_id = (await laptop.direct(bob)).channel_id
    async with bob.stream() as b:
        await b.send(channel_id, "x" * 100_000)
    async with await Http2.connect(endpoint, window=0) as http:
        call = await http.call("/tidings.v1.HistoryService/ListMessages", token=phone.tokens.access_token)
        request = history_pb2.ListMessagesRequest(channel_id=channel_id)
        await call.message(request.SerializeToString(), end=True)
        # Most likely its answer waits for the client by then.
        assert await http.ping()
        await presence_of(phone)
        async with asyncio.timeout(1):
            await revoke(phone, laptop)
        await call.give(1 << 20)
        # Nothing of the page is sent. No status can follow a first message that is not read, so the call is reset; a
        # server that had not written yet refuses.
        assert await call.read() == []
        assert await call.status() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAUTHENTICATED)


async def test_nothing_is_carried_out_that_was_sent_behind_the_sign_out(api: Api, composition: str) -> None:
    phone, laptop = await two_devices(api)
    bob = await api.sign_up("bob")
    channel_id = (await laptop.direct(bob)).channel_id
    async with laptop.stream() as watching:
        stream = Stream(phone.open())
        await stream.hello()
        sending = asyncio.create_task(send_on(stream, channel_id))
        await watching.next("message")
        await revoke(phone, laptop)
        # In the mesh another server may hold the stream, or sequence the channel, and hear of it a little later. The
        # status is grpc.aio's own, of a stream that ends while it is written to.
        heard = asyncio.get_running_loop().time() + 5
        async with asyncio.timeout_at(heard):
            await end_of(stream.call)
        if composition == "mesh":
            await asyncio.sleep(heard - asyncio.get_running_loop().time())
        request = history_pb2.ListMessagesRequest(channel_id=channel_id, page_size=1)
        (last,) = (await api.history.ListMessages(request, metadata=laptop.metadata)).messages
        assert (await watching.send(channel_id, "after the sign-out")).accepted.seq == last.seq + 1
    await sending


async def send_on(stream: Stream, channel_id: str) -> None:
    """Sends frame after frame, until the stream ends."""
    for frame in itertools.count():
        sends = [
            chat_pb2.SendMessage(client_message_id=f"{frame}-{number}", channel_id=channel_id, text="x")
            for number in range(3)
        ]
        try:
            await stream.write(*(chat_pb2.Command(send_message=each) for each in sends))
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return


async def presence_of(device: Device) -> None:
    stub: Any = await device.api.presence()
    await stub.GetPresence(presence_pb2.GetPresenceRequest(user_ids=[device.user_id]), metadata=device.metadata)
