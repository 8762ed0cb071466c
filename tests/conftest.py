"""The real engines and a whole mesh, for whatever test asks for them. What cannot be started fails the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.engines import CassandraSpace, Engines, EtcdSpace, RedisSpace
from tests.support.settings import MESH
from tidings_server.cluster.cluster import Cluster, Sizes

# How long one example takes says more about the machine than about the code.
settings.register_profile("tidings", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidings")

_ENGINES = ("cassandra", "etcd", "mesh", "redis")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """When tests run on several workers, all that use the engines run on one: starting a Cassandra twice is dear."""
    for item in items:
        parameters = item.nodeid.partition("[")[2]
        if "engines" in getattr(item, "fixturenames", ()) or any(engine in parameters for engine in _ENGINES):
            item.add_marker(pytest.mark.xdist_group("engines"))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """The engines of this session; each starts when it is first asked for."""
    made = Engines(tmp_path_factory.mktemp("engines"))
    yield made
    made.close()


@pytest.fixture
def etcd(engines: Engines) -> EtcdSpace:
    """A part of etcd of the test's own."""
    return engines.etcd()


@pytest.fixture
def debians_etcd(engines: Engines) -> EtcdSpace:
    """The same in Debian's etcd."""
    return engines.debians_etcd()


@pytest.fixture
def redis(engines: Engines) -> RedisSpace:
    """A database of the test's own, in a Redis for soft state."""
    return engines.redis()


@pytest.fixture
def durable_redis(engines: Engines) -> RedisSpace:
    """A database of the test's own, in a Redis that keeps what it answered."""
    return engines.durable_redis()


@pytest.fixture
def cassandra(engines: Engines) -> Iterator[CassandraSpace]:
    """A keyspace of the test's own, dropped after it."""
    space = engines.cassandra()
    yield space
    engines.drop(space)


@pytest.fixture
def shared_cassandra(engines: Engines) -> CassandraSpace:
    """One keyspace for all tests with ids of their own: making the tables anew for each takes seconds."""
    return engines.shared_cassandra()


@pytest.fixture(scope="session")
def standing_cluster(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A mesh for all tests that put up with one another. Its Cassandra is that of the session: starting one is dear."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, Sizes(3, 2, 1), settings=MESH, cassandra=engines.shared_cassandra().engine)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.kill())


@pytest.fixture
async def cluster(standing_cluster: Cluster) -> Cluster:
    """That mesh, whole: what an earlier test has killed is started again."""
    return await standing_cluster.start()
