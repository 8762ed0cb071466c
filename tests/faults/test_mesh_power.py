"""The power goes: every process of a mesh is killed at once, the engines too, and all are started again."""

from __future__ import annotations

from pathlib import Path

from tests.support.engines import SOON_UP
from tests.support.load import under_load, until_accepted
from tests.support.settings import MESH
from tidings_server.cluster import Cassandra
from tidings_server.cluster.cluster import Cluster, Sizes


async def test_what_was_accepted_before_the_power_went_is_there_afterwards(tmp_path: Path) -> None:
    cassandra = Cassandra(tmp_path / "cassandra", options=SOON_UP)
    cluster = Cluster(tmp_path / "cluster", Sizes(2, 1, 1), settings=MESH, cassandra=cassandra)
    try:
        await cluster.start()
        async with under_load(cluster, tmp_path / "power", people=4) as members:
            await until_accepted(members, 100)
            await cluster.kill()
            await cluster.start()
    finally:
        await cluster.kill()
