"""Another process holds SQLite's write lock: writes wait or are refused, and nothing else notices."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.processes import ServerProcess
from tests.support.raw import CODES, Api, Device, details_of
from tests.support.settings import UNLIMITED
from tidings.v1 import account_pb2, channel_pb2, chat_pb2, contact_pb2, history_pb2, presence_pb2

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
"""
_TIMES = 20


@asynccontextmanager
async def _held(folder: Path, begin: str) -> AsyncIterator[None]:
    """A process of its own that holds the lock meanwhile."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLD, str(folder / "tidings.db"), begin),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdin is not None and holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


async def _median_seconds(call: Callable[[], Awaitable[object]]) -> float:
    """How long something takes. The median, which says nothing about how busy the machine is with other tests."""
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(_TIMES):
        began = loop.time()
        async with asyncio.timeout(10):
            await call()
        took.append(loop.time() - began)
    return statistics.median(took)


async def _looks(ann: Device, bob: Device, channel_id: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Calls that only read, or keep nothing, by name."""
    api, metadata = ann.api, ann.metadata
    health = health_pb2_grpc.HealthStub(api.channel)
    # The stubs have no types for calls of grpc.aio.
    presence: Any = await api.presence()
    track = presence.Track(metadata=metadata)
    await track.read()

    async def beat() -> None:
        # Until the other one is told offline and online again there is nothing to read: what follows shows that the
        # heartbeat has been taken.
        await track.write(presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat()))
        request = presence_pb2.GetPresenceRequest(user_ids=[ann.user_id])
        answer = await presence.GetPresence(request, metadata=metadata)
        assert answer.presences[0].online

    async def connect() -> None:
        async with bob.stream() as stream:
            assert stream.welcome.session_id

    await beat()
    return {
        "health": lambda: health.Check(health_pb2.HealthCheckRequest()),
        "history": lambda: api.history.ListMessages(
            history_pb2.ListMessagesRequest(channel_id=channel_id), metadata=metadata
        ),
        "channels": lambda: api.channels.ListChannels(channel_pb2.ListChannelsRequest(), metadata=metadata),
        "account": lambda: api.accounts.GetUser(account_pb2.GetUserRequest(user_id=bob.user_id), metadata=metadata),
        "presence": beat,
        "stream": connect,
    }


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_only_writes_wait_for_the_lock_and_what_was_sent_is_kept_in_order(folder: Path, begin: str) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server:
        api = Api(server.endpoint)
        ann, bob, cid = await api.sign_up("ann"), await api.sign_up("bob"), await api.sign_up("cid")
        channel_id = (await ann.group(bob, cid)).channel_id
        async with ann.stream() as a, cid.stream() as c:
            calls = await _looks(ann, bob, channel_id)

            async def typing() -> None:
                await c.write(chat_pb2.Command(set_typing=chat_pb2.SetTyping(channel_id=channel_id, typing=True)))
                assert (await a.next("typing")).user_id == cid.user_id

            calls["typing"] = typing
            async with _held(folder, begin):
                for number in range(3):
                    await c.write(_send(channel_id, number))
                took = {name: await _median_seconds(call) for name, call in calls.items()}
            assert max(took.values()) < 0.1, took
            for number in range(3):
                result = await c.next("command_result")
                assert result.command_id == number + 1 and result.HasField("accepted"), result
            assert [(await a.next("message")).text for _ in range(3)] == ["0", "1", "2"]
        await api.close()


async def test_what_waits_for_the_lock_too_long_is_refused_and_can_be_sent_again(folder: Path) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server:
        api = Api(server.endpoint)
        ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
        channel_id = (await ann.direct(bob)).channel_id
        async with ann.stream() as a:
            loop = asyncio.get_running_loop()
            async with _held(folder, "BEGIN IMMEDIATE"):
                began = loop.time()
                contact = contact_pb2.AddContactRequest(user_id=bob.user_id)
                adding = asyncio.ensure_future(api.contacts.AddContact(contact, metadata=ann.metadata))
                await a.write(_send(channel_id, 0))
                refused = await a.next("command_result")
                with pytest.raises(aio.AioRpcError) as call:
                    await adding
                assert 4 < loop.time() - began < 10
            assert CODES[refused.error.code] is call.value.code() is grpc.StatusCode.UNAVAILABLE
            for details in details_of(refused.error), details_of(call.value):
                assert details.reason == "STORAGE_UNAVAILABLE" and details.retry is not None
            await a.write(_send(channel_id, 0))
            assert (await a.next("command_result")).accepted.seq == 1
        await api.close()


def _send(channel_id: str, number: int) -> chat_pb2.Command:
    return chat_pb2.Command(
        command_id=number + 1,
        send_message=chat_pb2.SendMessage(client_message_id=f"m{number}", channel_id=channel_id, text=str(number)),
    )
