from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import SOON_UP
from tidings.node.cluster.cluster import Cluster, Sizes

# As in tests/support/settings.py, for the servers of a cluster.
_SETTINGS = {
    "passwords": {"memory_kib": 64, "iterations": 1},
    "rates": {
        "commands": {"per_second": 1_000_000, "burst": 1_000_000},
        "sign_ups": {"per_second": 1_000, "burst": 10_000},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def standing_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), Sizes(3, 2, 1), settings=_SETTINGS, cassandra_options=SOON_UP)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.stop())


@pytest.fixture
async def cluster(standing_cluster: Cluster) -> Cluster:
    """A mesh that runs whole: what an earlier test has killed is started again."""
    return await standing_cluster.start()
