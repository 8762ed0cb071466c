"""The engines of the mesh backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Self

from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient
from tidings.backends.cassandra.contacts import CassandraContactStore
from tidings.backends.cassandra.driver import CassandraSettings
from tidings.backends.cassandra.history import CassandraHistory
from tidings.backends.cassandra.memberships import CassandraMemberships
from tidings.backends.cassandra.migrations import CassandraError
from tidings.backends.cassandra.push_tokens import CassandraPushTokenStore
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.backends.etcd.worker_ids import EtcdWorkerIds
from tidings.backends.redis.pipeline import AutoPipeline
from tidings.backends.redis.presence import RedisPresencePubSub, RedisPresenceStore
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.backends.redis.rate import RedisSharedRates
from tidings.backends.redis.shards import Shards
from tidings.backends.redis.sign_outs import RedisSignOutPubSub
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.positions import Positions
from tidings.rpc.tokens import Revocations
from tidings_server.engines import Engines
from tidings_server.keys import TokenKeys
from tidings_server.mesh.worker_id import WorkerIdHolder
from tidings_server.settings import Settings, SettingsError


class MeshEngines(Engines):
    """Connections to Cassandra, Redis and etcd. See `open`.

    Args:
        settings: Say where Redis and etcd are; they are connected to when they are needed.
        cassandra: The connection to Cassandra; closed by `close`.
        keys: The key of access tokens, which all servers share.
        clock: Tells the time.
    """

    load_seconds = 3.0

    def __init__(self, settings: Settings, cassandra: CassandraClient, keys: TokenKeys, clock: Clock) -> None:
        mesh = settings.mesh
        self.cassandra = cassandra
        self.keys = keys
        self.shards = Shards(mesh.redis, f"{mesh.prefix}:")
        self._push_pipeline = AutoPipeline(mesh.push_redis)
        self._etcd = EtcdClient(mesh.etcd, f"/{mesh.prefix}/")
        self.registry = self._etcd_registry = EtcdRegistry(self._etcd, lambda: self.lease_lost())
        self.lease_lost: Callable[[], None] = lambda: None
        """Called when this server's lease had run out, and the others see it again."""
        self.positions = Positions(clock)
        self._worker_id = WorkerIdHolder(EtcdWorkerIds(self._etcd, settings.listen), self.positions)
        # A server that starts asks for as many.
        kept = round(Revocations(clock, round(settings.access_token_seconds * 1000)).kept)
        accounts = CassandraAccountStore(cassandra, clock, revocations_kept_s=kept)
        self.accounts = accounts
        self.contacts = CassandraContactStore(cassandra, accounts, clock)
        self.push_tokens = CassandraPushTokenStore(cassandra, clock)
        self.history = CassandraHistory(cassandra)
        self.memberships = CassandraMemberships(cassandra, self.contacts)
        self.presence = RedisPresenceStore(self.shards)
        self.presence_pubsub = RedisPresencePubSub(self.shards)
        self.sign_outs = RedisSignOutPubSub(self.shards)
        self.push_queue = RedisPushQueue(self._push_pipeline, f"{mesh.prefix}:")
        self.shared_rates = RedisSharedRates(self.shards)

    @classmethod
    async def open(cls, settings: Settings, clock: Clock) -> Self:
        """Connect, and take a worker id if this process numbers events.

        Raises:
            SettingsError: A setting cannot be followed, or an engine is not there.
        """
        if settings.token_key is None:
            raise SettingsError("token_key is needed with the backend mesh")
        keys = TokenKeys.load(settings.token_key)
        try:
            cassandra = await CassandraClient.open(CassandraSettings(**settings.mesh.cassandra.model_dump()))
        except CassandraError as error:
            raise SettingsError(str(error)) from error
        engines = cls(settings, cassandra, keys, clock)
        try:
            await engines._begin(settings)
        except BaseException:
            await engines.close()
            raise
        return engines

    async def close(self) -> None:
        """See `Engines.close`."""
        with contextlib.suppress(Refusal):
            await self._worker_id.release()
        await self._etcd_registry.close()
        await self._etcd.close()
        await self.shards.close()
        await self._push_pipeline.close()
        await self.cassandra.close()

    async def _begin(self, settings: Settings) -> None:
        try:
            await self._etcd_registry.start()
        except Refusal as refusal:
            raise SettingsError(f"etcd cannot be used: {refusal}") from refusal
        try:
            if "chat" in settings.services:
                await self._worker_id.take()
            if "notifier" in settings.services:
                await self.push_queue.check_durable()
        except Refusal as refusal:
            raise SettingsError(str(refusal)) from refusal
