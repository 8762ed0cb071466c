"""The machine's clock is wrong for a while: nobody notices, but for the times that are shown meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import THIS_TREE, ServerProcess
from tests.support.raw import Api, Device
from tests.support.settings import UNLIMITED
from tests.support.wrong_clock import WrongClock
from tidings.v1 import account_pb2, chat_pb2, contact_pb2, history_pb2, presence_pb2

_DAY = 86_400
_LIE_SECONDS = 2.0
_BEAT = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())


def _now_wrong_by(message: chat_pb2.Message | chat_pb2.Accepted) -> float:
    """How far the time of something that has just been accepted is from the right one."""
    return message.created_at.ToNanoseconds() / 1e9 - time.time()


@asynccontextmanager
async def _watched(watcher: Device, watched: Device) -> AsyncIterator[list[bool]]:
    """Has two people send heartbeats; what changes for one about the other is in the list."""
    told: list[bool] = []
    stub: Any = await watcher.api.presence()
    tracks = [stub.Track(metadata=each.metadata) for each in (watched, watcher)]

    async def beat() -> None:
        while True:
            for track in tracks:
                await track.write(_BEAT)
            await asyncio.sleep(1)

    async def read() -> None:
        while True:
            response = await tracks[1].read()
            told.extend(each.online for each in response.changes if each.user_id == watched.user_id)

    tasks = [asyncio.create_task(beat()), asyncio.create_task(read())]
    try:
        async with asyncio.timeout(10):
            while told[-1:] != [True]:
                await asyncio.sleep(0.01)
        told.clear()
        yield told
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        for track in tracks:
            track.cancel()


@pytest.mark.parametrize("lie", [400 * _DAY, -600, 60, -400 * _DAY])
async def test_a_clock_that_is_wrong_for_two_seconds(folder: Path, lie: float) -> None:
    clock = WrongClock(folder.with_name("clock"))
    async with ServerProcess(folder, config=UNLIMITED, program=clock.program(THIS_TREE)) as server:
        api = Api(server.endpoint)
        ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
        for one, contact in (ann, bob), (bob, ann):
            request = contact_pb2.AddContactRequest(user_id=contact.user_id)
            await api.contacts.AddContact(request, metadata=one.metadata)
        other = await api.log_in(bob.user.username)
        channel_id = (await ann.direct(bob)).channel_id
        async with ann.stream() as a, bob.stream() as b, _watched(bob, ann) as told:
            received = []

            async def say(text: str) -> chat_pb2.Message:
                result = await a.send(channel_id, text)
                message: chat_pb2.Message = await b.next("message")
                assert (result.accepted.created_at, message.text) == (message.created_at, text)
                received.append(message)
                return message

            assert abs(_now_wrong_by(await say("before"))) < 2
            cursor = received[-1].position
            clock.show(lie)
            # What is shown is what the clock shows.
            assert abs(_now_wrong_by(await say("meanwhile")) - lie) < 2
            # Whoever comes, with a token from before or a new one, is let in and gets what they missed.
            for device in other, await api.log_in(bob.user.username):
                async with device.stream(cursor) as again:
                    assert [each.message.text for each in again.replayed] == ["meanwhile"]
            await asyncio.sleep(_LIE_SECONDS)
            clock.show(0)
            assert abs(_now_wrong_by(await say("after"))) < 2
            async with other.stream(cursor) as again:
                assert [each.message.text for each in again.replayed] == ["meanwhile", "after"]
            async with other.stream(received[-1].position) as again:
                assert again.replayed == []
            positions = [each.position for each in received]
            assert positions == sorted(positions) and positions[-1] - positions[0] < 60_000 << 22
            page = await api.history.ListMessages(
                history_pb2.ListMessagesRequest(channel_id=channel_id), metadata=ann.metadata
            )
            assert list(page.messages) == received
            # It may be told again what is so; but nobody was offline.
            assert False not in told
        await api.close()
        code, log = await server.terminate()
        assert code == 0
        assert f"the machine's clock has jumped by {'+' if lie > 0 else '-'}" in log, log


async def test_positions_that_a_wrong_clock_made_before_a_restart(folder: Path) -> None:
    clock = WrongClock(folder.with_name("clock"))
    clock.show(400 * _DAY)
    server = ServerProcess(folder, config=UNLIMITED, program=clock.program(THIS_TREE))
    await server.start()
    api = Api(server.endpoint)
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a:
        first = (await a.send(channel_id, "in the future")).accepted
    await server.terminate()
    clock.show(0)
    await server.start()
    # A token from then would be good for more than a year. A new one is to be had.
    for device in ann, bob:
        request = account_pb2.RefreshTokensRequest(refresh_token=device.tokens.refresh_token)
        device.tokens = (await api.accounts.RefreshTokens(request)).tokens
    async with ann.stream(first.position) as a, bob.stream() as b:
        assert a.replayed == []
        assert [each.message.text for each in b.replayed] == ["in the future"]
        second = (await a.send(channel_id, "now")).accepted
        assert abs(_now_wrong_by(second)) < 2
        assert second.position > first.position
    async with ann.stream(first.position) as a:
        assert [each.message.text for each in a.replayed] == ["now"]
    await api.close()
    _, log = await server.terminate()
    assert "ahead of the machine's clock" in log
