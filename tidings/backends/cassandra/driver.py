"""A session of the driver: where Cassandra is, and how it is reached."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cassandra import (
    ConsistencyLevel,
    OperationTimedOut,
    ProtocolVersion,
    RequestExecutionException,
    RequestValidationException,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import Connection, ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage
from cassandra.query import tuple_factory

from tidings.backends.cassandra.migrations import CassandraError, migrate

_log = logging.getLogger(__name__)

AWAY = (NoHostAvailable, OperationTimedOut, RequestExecutionException, ConnectionException, ErrorMessage)
"""The nodes do not answer, or too few of them. Any other exception of the driver is a mistake of ours."""

PLAIN = EXEC_PROFILE_DEFAULT
SERIAL_READS = "serial"
CONDITIONAL = "conditional"
"""The execution profiles of a session."""

# How long connecting to a slow Cassandra is tried again.
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """The settings for Cassandra: where it is, and how data is kept, read and written there."""

    addresses: tuple[str, ...] = ("127.0.0.1:9042",)
    """HOST:PORT of some nodes; the others are found through them. All listen at the same port."""
    keyspace: str = "tidings"
    """The keyspace, which is made if it does not exist."""
    replication: Mapping[str, int] = field(default_factory=lambda: {"": 1})
    """How many nodes keep each row, by data centre; `{"": n}` for a cluster that knows none (SimpleStrategy)."""
    datacenter: str = ""
    """The data centre of this region, whose nodes are asked; empty to ask all nodes."""
    consistency: str = "QUORUM"
    """Of reads and writes; LOCAL_QUORUM when each region is to go on alone."""
    serial_consistency: str = "SERIAL"
    """Of conditional writes. LOCAL_SERIAL keeps them within a data centre, which is safe only while all chat servers
    are in the same one: two servers in two regions that sequence the same channel would not see each other."""
    username: str = ""
    password: str = field(default="", repr=False)
    request_seconds: float = 10.0
    """How long an answer may take."""
    in_flight: int = 1024
    """How many requests may be under way; further ones wait their turn."""


def connect(settings: CassandraSettings, connections: type[Connection]) -> Session:
    """Open a session and bring the tables up to date, trying again while Cassandra is only slow. It blocks."""
    until = time.monotonic() + _START_SECONDS
    while True:
        cluster = _cluster(settings, connections)
        try:
            session = cluster.connect()
            migrate(session, settings.keyspace, settings.replication)
            session.set_keyspace(settings.keyspace)
        except (*AWAY, RequestValidationException) as error:
            cluster.shutdown()
            if not _is_slow(error) or time.monotonic() > until:
                raise CassandraError(f"Cassandra at {', '.join(settings.addresses)} cannot be used: {error}") from error
            _log.warning("Cassandra is slow to begin with: %s", type(error).__name__)
        except BaseException:
            cluster.shutdown()
            raise
        else:
            return session


def _is_slow(error: Exception) -> bool:
    """Tell whether Cassandra is there but slow, for instance because it has just started."""
    if isinstance(error, NoHostAvailable):
        return any(isinstance(each, OperationTimedOut) for each in error.errors.values())
    return isinstance(error, OperationTimedOut | RequestExecutionException)


def _cluster(settings: CassandraSettings, connections: type[Connection]) -> Cluster:
    """Configure the driver, without connecting."""
    hosts, ports = zip(*(address.rsplit(":", 1) for address in settings.addresses), strict=True)
    if len(set(ports)) > 1:
        raise CassandraError(f"the nodes of a Cassandra cluster listen at one port, not at {', '.join(set(ports))}")
    nearest = DCAwareRoundRobinPolicy(settings.datacenter) if settings.datacenter else RoundRobinPolicy()
    consistency, serial = _level(settings.consistency), _level(settings.serial_consistency)

    def profile(level: int = consistency, **policies: object) -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(nearest),
            consistency_level=level,
            serial_consistency_level=serial,
            request_timeout=settings.request_seconds,
            row_factory=tuple_factory,
            **policies,
        )

    profiles = {
        PLAIN: profile(),
        SERIAL_READS: profile(serial),
        # A conditional write that is sent twice would find itself. Its writer reads the row to learn the outcome.
        CONDITIONAL: profile(retry_policy=FallthroughRetryPolicy()),
    }
    return Cluster(
        [host.strip("[]") for host in hosts],
        port=int(ports[0]),
        execution_profiles=profiles,
        connection_class=connections,
        # Without this the last part of a larger request waits for the acknowledgement of the part before: 40 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        # Version 5 adds checksums, computed in Python: a tenth of the cost of a request.
        protocol_version=ProtocolVersion.V4,
        auth_provider=PlainTextAuthProvider(settings.username, settings.password) if settings.username else None,
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 5.0, max_attempts=None),
        connect_timeout=settings.request_seconds,
        # The driver's two seconds are short for a node that has just started.
        control_connection_timeout=settings.request_seconds,
        idle_heartbeat_interval=10,
        idle_heartbeat_timeout=5,
    )


def _level(name: str) -> int:
    try:
        return int(ConsistencyLevel.name_to_value[name])
    except KeyError:
        raise CassandraError(f"Cassandra has no consistency {name}") from None
