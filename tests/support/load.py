"""A crowd that writes all the time, to a mesh in which something is about to go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.crowd import Member, check, crowd, whole_log
from tests.support.waiting import eventually
from tidings.mesh.placement import Placement
from tidings.v1 import discovery_pb2
from tidings_server.cluster.cluster import Cluster
from tidings_server.cluster.server import TidingsServer

_SECONDS_TO_CONVERGE = 90


@asynccontextmanager
async def under_load(cluster: Cluster, folder: Path, people: int, devices_each: int = 2) -> AsyncIterator[list[Member]]:
    """Devices that write all the time; at the end everything is checked."""
    async with crowd(cluster.endpoint, folder, people, devices_each) as members:
        stop = asyncio.Event()
        talkers = [
            asyncio.create_task(_talk(member, f"{folder.name}-{number}", stop)) for number, member in enumerate(members)
        ]
        await until_accepted(members, 50)
        yield members
        await until_accepted(members, 50)
        stop.set()
        async with asyncio.timeout(_SECONDS_TO_CONVERGE):
            await asyncio.gather(*talkers)
            log = await whole_log(members[0].client, members[0].channel_id)
            await asyncio.gather(*(member.until(len(log)) for member in members))
        check(log, members)


async def until_accepted(members: Sequence[Member], more: int) -> None:
    """Waits until so many more messages are accepted."""
    target = _accepted(members) + more
    # Whoever sees something grow: a device whose server is paused sees nothing for long.
    growing = {asyncio.create_task(_until_all_accepted(member, members, target)) for member in members}
    _, others = await asyncio.wait(growing, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def sequencer_of(cluster: Cluster, members: Sequence[Member]) -> TidingsServer:
    """The chat server that owns the members' group."""
    addresses = {server.address for server in cluster.of_kind("chat")}
    servers: Sequence[discovery_pb2.Server] = ()

    async def is_whole() -> bool:
        # One that was killed is seen for the time of a lease, beside the one that was started in its place.
        nonlocal servers
        servers = await members[0].client.recommend_servers()
        return len(servers) == len(addresses) and {server.endpoint for server in servers} == addresses

    await eventually(is_whole, 15)
    sequencer = Placement(server.server_id for server in servers).server_of(members[0].channel_id)
    endpoint = next(server.endpoint for server in servers if server.server_id == sequencer)
    return next(server for server in cluster.of_kind("chat") if server.address == endpoint)


async def _talk(member: Member, name: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await member.say(f"{name}-{number}")


async def _until_all_accepted(member: Member, members: Sequence[Member], target: int) -> None:
    while _accepted(members) < target:
        member.grown.clear()
        await member.grown.wait()


def _accepted(members: Sequence[Member]) -> int:
    return sum(len(member.accepted) for member in members)
