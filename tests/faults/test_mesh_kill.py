"""Servers of the mesh die, pause and leave under load: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.support.crowd import Member, check, crowd, whole_log
from tidings.core.ring import Ring
from tidings.node.cluster.cluster import Cluster
from tidings.node.cluster.server import TidingsServer

_SECONDS_TO_CONVERGE = 90


async def _talk(member: Member, name: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await member.say(f"{name}-{number}")


def _accepted(members: Sequence[Member]) -> int:
    return sum(len(member.accepted) for member in members)


async def _until_accepted(members: Sequence[Member], more: int) -> None:
    """Waits until so many more messages are accepted."""
    target = _accepted(members) + more
    while _accepted(members) < target:
        members[0].grown.clear()
        await members[0].grown.wait()


@asynccontextmanager
async def under_load(cluster: Cluster, folder: Path, people: int, devices_each: int = 2) -> AsyncIterator[list[Member]]:
    """Devices that write all the time; at the end everything is checked."""
    async with crowd(cluster.endpoint, folder, people, devices_each) as members:
        stop = asyncio.Event()
        talkers = [
            asyncio.create_task(_talk(member, f"{folder.name}-{number}", stop)) for number, member in enumerate(members)
        ]
        await _until_accepted(members, 50)
        yield members
        await _until_accepted(members, 50)
        stop.set()
        async with asyncio.timeout(_SECONDS_TO_CONVERGE):
            await asyncio.gather(*talkers)
            log = await whole_log(members[0].client, members[0].channel_id)
            await asyncio.gather(*(member.until(len(log)) for member in members))
        check(log, members)


async def _owner(cluster: Cluster, members: Sequence[Member]) -> TidingsServer:
    """The chat server that owns the members' group."""
    servers = await members[0].client.recommend_servers()
    assert len(servers) == len(cluster.of_kind("chat"))
    owner = Ring(server.server_id for server in servers).owner(members[0].channel_id)
    endpoint = next(server.endpoint for server in servers if server.server_id == owner)
    return next(server for server in cluster.of_kind("chat") if server.address == endpoint)


async def test_chat_servers_are_killed_again_and_again(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "killed", people=25) as members:
        for round_ in range(4):
            # The owner of the channel every other time; a server that just holds streams in between.
            owner = await _owner(cluster, members)
            others = [server for server in cluster.of_kind("chat") if server is not owner]
            victim = owner if round_ % 2 == 0 else random.choice(others)
            await asyncio.sleep(random.uniform(0.0, 0.1))
            await victim.kill()
            async with asyncio.timeout(10):
                await asyncio.gather(*(member.connection.until_live() for member in members))
            await _until_accepted(members, 100)
            await victim.start()


async def test_an_owner_that_was_paused_writes_nothing_twice(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "zombie", people=4) as members:
        owner = await _owner(cluster, members)
        owner.signal(signal.SIGSTOP)
        # Another one has taken over when more is accepted; and then the paused one wakes with work in its hands.
        await _until_accepted(members, 100)
        owner.signal(signal.SIGCONT)
        await _until_accepted(members, 100)


async def test_a_server_drains_under_load(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "drain", people=4) as members:
        owner = await _owner(cluster, members)
        await owner.stop()
        await owner.start()


async def test_redis_is_wiped_and_killed_under_load(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "redis", people=4) as members:
        client = _redis(cluster)
        await client.flushall()
        await client.aclose()
        await _until_accepted(members, 100)
        await cluster.redis.kill()
        await _until_accepted(members, 100)
        await cluster.redis.start()


async def test_cassandra_is_away_for_a_while(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "cassandra", people=4):
        cluster.cassandra.signal(signal.SIGSTOP)
        await asyncio.sleep(15)
        cluster.cassandra.signal(signal.SIGCONT)


def _redis(cluster: Cluster) -> Redis:
    return Redis.from_url(cluster.redis.url)
