"""The engines that a mesh stands on, run as processes on loopback: for `tidings cluster up` and for tests."""

from tidings.node.cluster.cassandra import Cassandra
from tidings.node.cluster.engine import Engine, EngineError
from tidings.node.cluster.etcd import Etcd
from tidings.node.cluster.redis import Redis

__all__ = ["Cassandra", "Engine", "EngineError", "Etcd", "Redis"]
