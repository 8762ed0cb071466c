"""The real engines for a whole test session, each started when a test first asks for it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import aetcd
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy

from tidings_server.cluster import Cassandra, Engine, Etcd, Redis

NO_DELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""For Cluster(sockopts=…): without it a conditional batch waits 40 ms for an acknowledgement of TCP."""


DEBIANS_ETCD = Path("/usr/bin/etcd")
"""The one of Debian's etcd-server, which is older than the one that is built here."""

SOON_UP = ("-XX:TieredStopAtLevel=1",)
"""For Cassandra: compiles quickly rather than well, so that a start takes two thirds of the processor time."""

_QUICK_SCHEMA = ("-Dcassandra.unsafesystem=true",)
"""For a Cassandra that is never killed and started again: does not flush for every table made, a fifth of the time."""

EngineT = TypeVar("EngineT", bound=Engine)


@dataclass(frozen=True)
class EtcdSpace:
    """A part of etcd that no other test uses."""

    engine: Etcd
    prefix: str
    """Of all its keys."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.engine.address

    def client(self) -> aetcd.Client:
        """A client of the library; close it."""
        return aetcd.Client("127.0.0.1", self.engine.port)


@dataclass(frozen=True)
class RedisSpace:
    """A part of Redis that no other test uses."""

    engine: Redis
    database: int
    prefix: str
    """For the names of pub/sub channels, which all databases share."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.engine.address

    @property
    def url(self) -> str:
        """With the database."""
        return f"{self.engine.url}/{self.database}"


@dataclass(frozen=True)
class CassandraSpace:
    """A part of Cassandra that no other test uses."""

    engine: Cassandra
    keyspace: str
    """Whoever uses it makes it when missing."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.engine.address

    def cluster(self) -> Cluster:
        """A client of the library; shut it down."""
        return cassandra_cluster(self.engine.port)


def cassandra_cluster(port: int) -> Cluster:
    """The driver's client of the node at a port, set up so that it warns of nothing."""
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
    return Cluster(
        ["127.0.0.1"],
        port=port,
        sockopts=NO_DELAY,
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )


class Engines:
    """One engine of each kind. All are killed at the end, and by the kernel when the session itself is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # One thread for the whole session: the kernel kills them when the thread that started them ends.
        self._owner = ThreadPoolExecutor(1, "engines")
        self._started: dict[str, Engine] = {}
        self._session: Session | None = None
        self._spaces = itertools.count(1)

    def etcd(self) -> EtcdSpace:
        """A part of etcd of its own."""
        return EtcdSpace(self._running("etcd", Etcd), f"/t{next(self._spaces)}/")

    def debians_etcd(self) -> EtcdSpace:
        """The same in Debian's etcd."""
        engine = self._running("debians-etcd", lambda folder: Etcd(folder, binary=DEBIANS_ETCD))
        return EtcdSpace(engine, f"/t{next(self._spaces)}/")

    def redis(self) -> RedisSpace:
        """A database of its own, in a Redis that keeps nothing on the disk."""
        number = next(self._spaces)
        return RedisSpace(
            self._running("redis", lambda folder: Redis(folder, databases=100_000)), number, f"t{number}:"
        )

    def durable_redis(self) -> RedisSpace:
        """A database of its own, in a Redis that keeps what it answered."""
        number = next(self._spaces)
        return RedisSpace(
            self._running("durable-redis", lambda folder: Redis(folder, databases=100_000, durable=True)),
            number,
            f"t{number}:",
        )

    def cassandra(self) -> CassandraSpace:
        """The name of a keyspace of its own."""
        return CassandraSpace(self._cassandra(), f"t{next(self._spaces)}")

    def shared_cassandra(self) -> CassandraSpace:
        """A keyspace for all tests that can tell their rows from others' and so need make no tables of their own."""
        return CassandraSpace(self._cassandra(), "shared")

    def drop(self, space: CassandraSpace) -> None:
        """Drops a keyspace, so that Cassandra does not slow down by the tables of all tests."""
        if self._session is None:
            self._session = space.cluster().connect()
        self._session.execute(f"DROP KEYSPACE IF EXISTS {space.keyspace}")

    def close(self) -> None:
        """Ends them all; what they kept was for tests."""
        if self._session is not None:
            self._session.cluster.shutdown()
        for engine in self._started.values():
            self._owner.submit(asyncio.run, engine.kill()).result()
        self._owner.shutdown()

    def _cassandra(self) -> Cassandra:
        return self._running("cassandra", lambda folder: Cassandra(folder, options=SOON_UP + _QUICK_SCHEMA))

    def _running(self, name: str, make: Callable[[Path], EngineT]) -> EngineT:
        engine = self._started.get(name)
        if engine is None:
            engine = self._started[name] = make(self._folder / name)
        if not engine.running:
            self._owner.submit(asyncio.run, engine.start()).result()
        return cast("EngineT", engine)
