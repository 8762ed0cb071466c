"""The real engines, for whatever test asks for one. An engine that cannot be started fails the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import CassandraSpace, Engines, EtcdSpace, RedisSpace


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
