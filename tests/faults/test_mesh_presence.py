"""Presence over several servers: one of them is killed, devices are signed out, people are blocked."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest

from tests.support.raw import PASSWORD, Api, Device, Stream, details_of, end_of
from tidings.v1 import account_pb2, chat_pb2_grpc, contact_pb2, presence_pb2, presence_pb2_grpc
from tidings_client import Tidings
from tidings_server.cluster.cluster import Cluster
from tidings_server.cluster.server import TidingsServer

_BEAT = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())
_AWAY_SECONDS = 30.0
# What a second's tick and a busy machine may add.
_LATE_SECONDS = 4.0
_AT_ONCE_SECONDS = 4.0
"""Less than the five seconds after which a server looks for what it may not have been told."""


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    made = Api(cluster.endpoint)
    yield made
    await made.close()


class Watch:
    """A `Track` stream at one server, and what it has told so far."""

    def __init__(self, device: Device, server: TidingsServer) -> None:
        stub = presence_pb2_grpc.PresenceServiceStub(device.api.dial(server.address))
        self.call: Any = stub.Track(metadata=device.metadata)
        self.known: dict[str, presence_pb2.PresenceChange] = {}

    async def beat(self) -> None:
        await self.call.write(_BEAT)

    async def read(self) -> list[presence_pb2.PresenceChange]:
        """What the next response changes; a state may be told again, which changes nothing."""
        response = await self.call.read()
        assert isinstance(response, presence_pb2.TrackResponse)
        changed = [change for change in response.changes if self.known.get(change.user_id) != change]
        self.known.update({change.user_id: change for change in changed})
        return changed

    async def until(self, online: bool, *user_ids: str) -> None:
        """Waits until it has told that these are online, or are not."""
        async with asyncio.timeout(_AT_ONCE_SECONDS):
            while not all(user_id in self.known and self.known[user_id].online is online for user_id in user_ids):
                await self.read()


@asynccontextmanager
async def watch(device: Device, server: TidingsServer) -> AsyncIterator[Watch]:
    made = Watch(device, server)
    try:
        await made.read()
        yield made
    finally:
        made.call.cancel()


async def add_contact(device: Device, user_id: str) -> None:
    request = contact_pb2.AddContactRequest(user_id=user_id)
    await device.api.contacts.AddContact(request, metadata=device.metadata)


def dialled_most(servers: list[TidingsServer]) -> list[TidingsServer]:
    """The servers by how many connections this process has to each, the most first."""
    peers: list[tuple[str, int] | tuple[()]] = [each.raddr for each in psutil.Process().net_connections("tcp4")]
    # One without a peer listens.
    ports = Counter(peer[1] for peer in peers if peer)
    return sorted(servers, key=lambda server: ports[int(server.address.rpartition(":")[2])], reverse=True)


async def test_a_killed_servers_devices_go_offline_in_thirty_seconds_unless_they_are_back_before(
    cluster: Cluster, api: Api
) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    async with AsyncExitStack() as stack:
        people = []
        for number in range(6):
            name = f"{ann.user.username}-sdk-{number}"
            person = await stack.enter_async_context(await Tidings.sign_up(cluster.endpoint, name, PASSWORD))
            await stack.enter_async_context(person.presence())
            people.append(person)
        faithful = [person.user_id for person in people]
        for user_id in (*faithful, bob.user_id):
            await add_contact(ann, user_id)
        async with watch(ann, cluster.of_kind("presence")[0]) as first:
            await first.until(True, *faithful)
        victim, survivor = dialled_most(cluster.of_kind("presence"))
        async with watch(ann, survivor) as anns, watch(bob, victim) as bobs:
            await bobs.beat()
            beaten = time.monotonic()
            await anns.until(True, bob.user_id, *faithful)
            await victim.kill()
            told: list[tuple[str, bool]] = []
            async with asyncio.timeout(_AWAY_SECONDS + _LATE_SECONDS):
                while not told:
                    told = [(change.user_id, change.online) for change in await anns.read()]
            passed = time.monotonic() - beaten
            # Nobody else went, not even for a moment.
            assert told == [(bob.user_id, False)]
            assert passed > _AWAY_SECONDS - 1
        (state, *others) = await people[0].get_presence([bob.user_id, *faithful])
        # Those two share nothing: it is what a stranger may see, from whichever server is there to answer.
        assert [each.online for each in (state, *others)] == [False, True, *[False] * (len(people) - 1)]


async def test_signing_devices_out_ends_their_streams_on_every_server_at_once(cluster: Cluster, api: Api) -> None:
    ann = await api.sign_up("ann")
    servers = [*cluster.of_kind("chat"), *cluster.of_kind("presence")]
    devices = [await api.log_in(ann.user.username) for _ in servers]
    streams = []
    for device, server in zip(devices, servers, strict=True):
        if server in cluster.of_kind("presence"):
            tracked = Watch(device, server)
            await tracked.read()
            streams.append(tracked.call)
        else:
            device.servers = [each for each in device.servers if each.endpoint == server.address]
            assert device.servers
            chat = Stream(device.open())
            await chat.hello()
            streams.append(chat.call)
    # One leaves by itself, the others are put out.
    await api.accounts.LogOut(account_pb2.LogOutRequest(), metadata=devices[0].metadata)
    for device in devices[1:]:
        request = account_pb2.RevokeDeviceRequest(device_id=device.device_id)
        await api.accounts.RevokeDevice(request, metadata=ann.metadata)
    async with asyncio.timeout(_AT_ONCE_SECONDS):
        for error in await asyncio.gather(*map(end_of, streams)):
            assert (error.code(), details_of(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "DEVICE_REVOKED")
    # Their tokens are refused by all of them now, whichever server they had a stream on.
    for server in servers:
        channel = api.dial(server.address)
        method: Any = chat_pb2_grpc.ChatServiceStub(channel).Converse
        if server in cluster.of_kind("presence"):
            method = presence_pb2_grpc.PresenceServiceStub(channel).Track
        for device in devices:
            error = await end_of(method(metadata=device.metadata))
            assert (error.code(), details_of(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "DEVICE_REVOKED")


async def test_a_block_hides_both_from_one_another_across_servers(cluster: Cluster, api: Api) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    await add_contact(ann, bob.user_id)
    await add_contact(bob, ann.user_id)
    one, other = cluster.of_kind("presence")
    async with watch(ann, one) as anns, watch(bob, other) as bobs:
        await anns.beat()
        await bobs.beat()
        await anns.until(True, bob.user_id)
        await bobs.until(True, ann.user_id)
        await api.contacts.BlockUser(contact_pb2.BlockUserRequest(user_id=bob.user_id), metadata=ann.metadata)
        await anns.until(False, bob.user_id)
        await bobs.until(False, ann.user_id)
        assert not anns.known[bob.user_id].HasField("last_seen")
        assert not bobs.known[ann.user_id].HasField("last_seen")
        for viewer, seen in ((ann, bob), (bob, ann)):
            for server in (one, other):
                stub = presence_pb2_grpc.PresenceServiceStub(api.dial(server.address))
                answer = await stub.GetPresence(
                    presence_pb2.GetPresenceRequest(user_ids=[seen.user_id]), metadata=viewer.metadata
                )
                assert list(answer.presences) == [presence_pb2.PresenceChange(user_id=seen.user_id)]
        await api.contacts.UnblockUser(contact_pb2.UnblockUserRequest(user_id=bob.user_id), metadata=ann.metadata)
        await anns.until(True, bob.user_id)
        await bobs.until(True, ann.user_id)
