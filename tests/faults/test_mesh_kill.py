"""Servers of the mesh die, pause and leave under load: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from redis.asyncio import Redis

from tests.support.load import sequencer_of, under_load, until_accepted
from tidings_server.cluster.cluster import Cluster


async def test_chat_servers_are_killed_again_and_again(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "killed", people=25) as members:
        for round_ in range(4):
            # The sequencer of the channel every other time; a server that just holds streams in between.
            sequencer = await sequencer_of(cluster, members)
            others = [server for server in cluster.of_kind("chat") if server is not sequencer]
            victim = sequencer if round_ % 2 == 0 else random.choice(others)
            await asyncio.sleep(random.uniform(0.0, 0.1))
            await victim.kill()
            async with asyncio.timeout(10):
                await asyncio.gather(*(member.connection.until_live() for member in members))
            await until_accepted(members, 100)
            await victim.start()


async def test_a_sequencer_that_was_paused_writes_nothing_twice(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "zombie", people=4) as members:
        sequencer = await sequencer_of(cluster, members)
        sequencer.signal(signal.SIGSTOP)
        # Another one has taken over when more is accepted; and then the paused one wakes with work in its hands.
        await until_accepted(members, 100)
        sequencer.signal(signal.SIGCONT)
        await until_accepted(members, 100)


async def test_a_server_drains_under_load(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "drain", people=4) as members:
        sequencer = await sequencer_of(cluster, members)
        await sequencer.stop()
        await sequencer.start()


async def test_redis_is_wiped_and_killed_under_load(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "redis", people=4) as members:
        client = _redis(cluster)
        await client.flushall()
        await client.aclose()
        await until_accepted(members, 100)
        await cluster.redis.kill()
        await until_accepted(members, 100)
        await cluster.redis.start()


async def test_cassandra_is_away_for_a_while(cluster: Cluster, tmp_path: Path) -> None:
    async with under_load(cluster, tmp_path / "cassandra", people=4):
        cluster.cassandra.signal(signal.SIGSTOP)
        await asyncio.sleep(15)
        cluster.cassandra.signal(signal.SIGCONT)


def _redis(cluster: Cluster) -> Redis:
    return Redis.from_url(cluster.redis.url)
