"""The clocks of a mesh's servers are apart, and one of them is set while it runs: replays miss nothing all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from tests.support.raw import Api, Device
from tests.support.wrong_clock import WrongClock
from tidings.v1 import contact_pb2, presence_pb2, presence_pb2_grpc
from tidings_server.cluster.cluster import Cluster
from tidings_server.cluster.server import TidingsServer

_DAY = 86_400
_LIE_SECONDS = 2.0
_GROUPS = 9
"""Enough that each of the three chat servers sequences some of them."""
_BEAT = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())

Clocks = dict[TidingsServer, WrongClock]
Log = dict[str, dict[int, str]]


@pytest.fixture
async def clocks(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clocks]:
    """The clock of each server that has streams: the first for chat is 30 s ahead, the first for presence 60 s."""
    folder = tmp_path_factory.mktemp("clocks")
    found: Clocks = {}
    for kind, ahead in (("chat", 30.0), ("presence", 60.0)):
        for number, server in enumerate(cluster.of_kind(kind)):
            clock = found[server] = WrongClock(folder / f"{kind}-{number}")
            clock.show(ahead if number == 0 else 0.0)
            await server.stop()
            with monkeypatch.context() as patch:
                for name, value in clock.environment.items():
                    patch.setenv(name, value)
                await server.start()
    yield found
    for server in found:
        await server.stop()
        await server.start()


@pytest.fixture
async def api(cluster: Cluster, clocks: Clocks) -> AsyncIterator[Api]:
    made = Api(cluster.endpoint)
    yield made
    await made.close()


async def _missed(device: Device, server: TidingsServer, cursor: int, last: Mapping[str, str]) -> Log:
    """What comes to a device at a server, by channel and by seq, until it has the last text of each channel.

    What was accepted a moment ago may come behind the replay.
    """
    device.servers = [each for each in device.servers if each.endpoint == server.address]
    found: Log = {channel_id: {} for channel_id in last}
    async with device.stream(cursor) as stream, asyncio.timeout(10):
        for event in stream.replayed:
            if event.HasField("message"):
                found[event.message.channel_id].setdefault(event.message.seq, event.message.text)
        while any(text not in found[channel_id].values() for channel_id, text in last.items()):
            message = await stream.next("message")
            found[message.channel_id].setdefault(message.seq, message.text)
    return found


async def _beats(
    api: Api, servers: Iterable[TidingsServer], people: Iterable[Device], told: dict[str, list[bool]]
) -> None:
    """Sends heartbeats of people at all presence servers, and notes what they are told of one another."""

    async def track(server: TidingsServer, device: Device) -> None:
        stub: Any = presence_pb2_grpc.PresenceServiceStub(api.dial(server.address))
        call = stub.Track(metadata=device.metadata)

        async def beat() -> None:
            while True:
                await call.write(_BEAT)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            group.create_task(beat())
            while True:
                told[device.user_id] += (change.online for change in (await call.read()).changes)

    async with asyncio.TaskGroup() as group:
        for server, device in zip(servers, people, strict=True):
            group.create_task(track(server, device))


@pytest.mark.parametrize("lie", [400 * _DAY, -600])
async def test_clocks_that_are_apart_and_jump(cluster: Cluster, clocks: Clocks, api: Api, lie: float) -> None:
    servers, presence = cluster.of_kind("chat"), cluster.of_kind("presence")
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    for one, contact in (ann, bob), (bob, ann):
        request = contact_pb2.AddContactRequest(user_id=contact.user_id)
        await api.contacts.AddContact(request, metadata=one.metadata)
    groups = [(await ann.group(bob)).channel_id for _ in range(_GROUPS)]
    sent: dict[str, list[str]] = {channel_id: [] for channel_id in groups}
    wrong: list[float] = []
    accepted: dict[str, list[int]] = {channel_id: [] for channel_id in groups}
    told: dict[str, list[bool]] = {ann.user_id: [], bob.user_id: []}
    watching = asyncio.create_task(_beats(api, presence, (ann, bob), told))
    others = [await api.log_in(bob.user.username) for _ in servers]
    async with ann.stream() as a:

        async def say(text: str) -> None:
            for channel_id in groups:
                result = (await a.send(channel_id, text)).accepted
                sent[channel_id].append(text)
                accepted[channel_id].append(result.position)
                wrong.append(result.created_at.ToNanoseconds() / 1e9 - time.time())

        cursor = 0

        async def missed_everywhere() -> None:
            last = {channel_id: texts[-1] for channel_id, texts in sent.items()}
            for device, server in zip(others, servers, strict=True):
                for channel_id, texts in (await _missed(device, server, cursor, last)).items():
                    # From the cursor on or from some before it, and then each in its order.
                    assert list(texts.values()) == sent[channel_id][-len(texts) :], server.address
                    assert list(texts) == sorted(texts)

        for round_, clock_is_wrong in enumerate((False, True, False)):
            for clock in clocks.values():
                clock.show(clock.seconds + (lie if clock_is_wrong else 0))
            await say(f"first of {round_}")
            if clock_is_wrong:
                await asyncio.sleep(_LIE_SECONDS)
                for clock in clocks.values():
                    clock.show(clock.seconds - lie)
            # Two whose servers differ have their cursors from the one that is ahead.
            await missed_everywhere()
            cursor = max(positions[-1] for positions in accepted.values())
            await say(f"second of {round_}")
            await missed_everywhere()
    for positions in accepted.values():
        assert positions == sorted(positions)
    # What is shown is what the clock of the channel's sequencer shows: 30 s ahead for some.
    right = [each for each in wrong if abs(each) < 2]
    ahead = [each for each in wrong if abs(each - 30) < 2]
    assert right and ahead and len(wrong) - len(right) - len(ahead) == _GROUPS
    assert not watching.done(), watching
    watching.cancel()
    for states in told.values():
        # Offline at most until the other's first heartbeat.
        assert True in states and False not in states[states.index(True) :]
