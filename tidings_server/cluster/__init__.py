"""The engines that a mesh stands on, run as processes on loopback: for `tidings cluster up` and for tests."""

from tidings_server.cluster.cassandra import Cassandra
from tidings_server.cluster.engine import Engine, EngineError
from tidings_server.cluster.etcd import Etcd
from tidings_server.cluster.redis import Redis

__all__ = ["Cassandra", "Engine", "EngineError", "Etcd", "Redis"]
