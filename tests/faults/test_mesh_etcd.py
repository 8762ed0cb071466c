"""etcd is away for a minute, longer than all leases last: chat goes on, and nothing needs help afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.support.crowd import Member
from tests.support.load import sequencer_of, under_load, until_accepted
from tests.support.waiting import eventually
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.core.values import ServerKind
from tidings_server.cluster.cluster import Cluster

_MINUTE = 60.0
# Without etcd a device is served as with it; the machine may be busy.
_SECONDS_WITHOUT_A_MESSAGE = 3.0


async def _chat_goes_on(members: Sequence[Member], seconds: float) -> None:
    """Watches for some time that messages are accepted all the while, and delivered to every device."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        async with asyncio.timeout(_SECONDS_WITHOUT_A_MESSAGE):
            await until_accepted(members, 1)
            latest = max(result.seq for member in members for result in member.accepted.values())
            await asyncio.gather(*(member.until(latest) for member in members))


async def _registered(cluster: Cluster) -> dict[ServerKind, set[str]]:
    """The addresses of the servers of each kind in etcd itself."""
    etcd = EtcdClient([cluster.etcd.address])
    registry = EtcdRegistry(etcd)
    try:
        await registry.start()
        return {kind: {server.endpoint for server in registry.servers(kind)} for kind in ServerKind}
    finally:
        await registry.close()
        await etcd.close()


async def test_etcd_is_away_for_a_minute(cluster: Cluster, tmp_path: Path) -> None:
    expected = {
        ServerKind.CHAT: {server.address for server in cluster.of_kind("chat")},
        ServerKind.PRESENCE: {server.address for server in cluster.of_kind("presence")},
        ServerKind.API: {server.address for server in cluster.of_kind("api")},
        ServerKind.DISCOVERY: {server.address for kind in ("api", "discovery") for server in cluster.of_kind(kind)},
        ServerKind.NOTIFIER: {server.address for server in cluster.of_kind("notifier")},
    }
    async with under_load(cluster, tmp_path / "etcd", people=4) as members:
        sequencer = await sequencer_of(cluster, members)
        victim = next(server for server in cluster.of_kind("chat") if server is not sequencer)
        client = members[0].client

        async def recommended() -> set[str]:
            return {server.endpoint for server in await client.recommend_servers()}

        await cluster.etcd.kill()
        await _chat_goes_on(members, _MINUTE)
        assert await recommended() == expected[ServerKind.CHAT]
        # Nobody is told, and yet its devices find another one.
        await victim.kill()
        async with asyncio.timeout(10):
            await asyncio.gather(*(member.connection.until_live() for member in members))
        await _chat_goes_on(members, 1)

        await cluster.etcd.start()
        alive = {**expected, ServerKind.CHAT: expected[ServerKind.CHAT] - {victim.address}}

        async def is_as_it_should_be() -> bool:
            return await recommended() == alive[ServerKind.CHAT] and await _registered(cluster) == alive

        await eventually(is_as_it_should_be, seconds=30)
        await _chat_goes_on(members, 1)
        await victim.start()

        async def is_back() -> bool:
            return await recommended() == expected[ServerKind.CHAT]

        await eventually(is_back)
