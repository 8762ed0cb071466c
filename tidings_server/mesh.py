"""Some of the services in this process, among others of their kind, on Cassandra, Redis and etcd."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from chat_server.channels.local import ChannelPorts
from chat_server.channels.push_decider import DecisionPorts
from chat_server.mesh.server import MeshChatServer, MeshPorts
from chat_server.server import ChatSettings
from discovery.recommender import NearestFirst
from notifier.service import PushQueueService
from presence_server.announcer import Announcer
from presence_server.contacts import AnnouncedContacts
from presence_server.tracker import Tracker
from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient, CassandraSettings
from tidings.backends.cassandra.contacts import CassandraContactStore
from tidings.backends.cassandra.history import CassandraHistory
from tidings.backends.cassandra.inbox import CassandraInbox
from tidings.backends.cassandra.log import CassandraChannelLog
from tidings.backends.cassandra.memberships import CassandraMemberships
from tidings.backends.cassandra.migrations import CassandraError
from tidings.backends.cassandra.pending_push import CassandraPendingPush
from tidings.backends.cassandra.push_tokens import CassandraPushTokenStore
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.backends.etcd.worker_ids import EtcdWorkerIds
from tidings.backends.redis.pipeline import AutoPipeline
from tidings.backends.redis.presence import RedisPresencePubSub, RedisPresenceStore
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.backends.redis.rate import RedisSharedRates
from tidings.backends.redis.routes import RedisRoutes
from tidings.backends.redis.shards import Shards
from tidings.backends.redis.sign_outs import RedisSignOutPubSub
from tidings.core.clock import SystemClock
from tidings.core.errors import Refusal
from tidings.core.ids import new_server_id
from tidings.core.ports import DeviceStreams
from tidings.core.positions import Positions
from tidings.core.values import Server, ServerKind
from tidings.internal.v1 import peer_pb2, push_queue_pb2, push_queue_pb2_grpc
from tidings.mesh.notifier_sink import NotifierSink
from tidings.mesh.router import ChannelRouter
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings_server.certificates import Dialler, internal_certificate, public_certificate
from tidings_server.keys import TokenKeys
from tidings_server.metrics import Metrics
from tidings_server.push import Notifier, NotifierPorts
from tidings_server.services import (
    KINDS,
    ApiParts,
    password_hashing,
    rate,
    serve_api,
    serve_chat,
    serve_discovery,
    serve_presence,
)
from tidings_server.settings import Settings, SettingsError
from tidings_server.sign_outs import SignOutFollower, SignOutPublisher
from tidings_server.streams import AllStreams

_log = logging.getLogger(__name__)

_LOAD_SECONDS = 3.0
_STOP_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_RETRY_SECONDS = 1.0
# They are refreshed every 20 s; several times may fail.
_ROUTE_SECONDS = 180.0
_REVOCATIONS_LONGER_SECONDS = 3600


class Engines:
    """The connections of this process, and the ports on them."""

    def __init__(self, settings: Settings, cassandra: CassandraClient, clock: SystemClock) -> None:
        """Takes over a connection to Cassandra; the others connect when they are needed. See `open`."""
        mesh = settings.mesh
        self.cassandra = cassandra
        self.shards = Shards(mesh.redis, f"{mesh.prefix}:")
        self._push_pipeline = AutoPipeline(mesh.push_redis)
        self._etcd = EtcdClient(mesh.etcd, f"/{mesh.prefix}/")
        self.registry = EtcdRegistry(self._etcd, lambda: self.lease_lost())
        self.lease_lost: Callable[[], None] = lambda: None
        """Called when the others had taken this process for gone, and see it again."""
        self.worker_ids = EtcdWorkerIds(self._etcd, settings.listen)
        # A server that starts asks for all revocations that an access token may have outlived.
        kept = round(settings.access_token_seconds) + _REVOCATIONS_LONGER_SECONDS
        self.accounts = CassandraAccountStore(cassandra, clock, revocations_kept_s=kept)
        self.contacts = CassandraContactStore(cassandra, self.accounts, clock)
        self.push_tokens = CassandraPushTokenStore(cassandra, clock)
        self.history = CassandraHistory(cassandra)
        self.memberships = CassandraMemberships(cassandra, self.contacts)
        self.presence = RedisPresenceStore(self.shards)
        self.presence_news = RedisPresencePubSub(self.shards)
        self.sign_outs = RedisSignOutPubSub(self.shards)
        self.push_queue = RedisPushQueue(self._push_pipeline, f"{mesh.prefix}:")

    @classmethod
    async def open(cls, settings: Settings, clock: SystemClock) -> Self:
        """Connects.

        Raises:
            SettingsError: Cassandra or etcd cannot be used.
        """
        section = settings.mesh.cassandra
        try:
            cassandra = await CassandraClient.open(CassandraSettings(**section.model_dump()))
        except CassandraError as error:
            raise SettingsError(str(error)) from error
        engines = cls(settings, cassandra, clock)
        try:
            await engines.registry.start()
        except Refusal as refusal:
            await engines.close()
            raise SettingsError(f"etcd cannot be used: {refusal}") from refusal
        return engines

    async def close(self) -> None:
        """Ends all connections."""
        await self.registry.close()
        await self._etcd.close()
        await self.shards.close()
        await self._push_pipeline.close()
        await self.cassandra.close()


class MeshNode:
    """The services of this process, from connecting to the engines to the last commit."""

    def __init__(self, settings: Settings, engines: Engines, clock: SystemClock, number: int) -> None:
        """Puts everything together; nothing runs before `start`. See `open`."""
        self._settings = settings
        self._engines = engines
        self._server_id = new_server_id()
        token_ms = round(settings.access_token_seconds * 1000)
        if settings.token_key is None:
            raise SettingsError("token_key is needed with the backend mesh")
        keys = TokenKeys.load(settings.token_key)
        revocations = Revocations(clock, token_ms)
        verifier = TokenVerifier(keys.public, clock, revocations)
        dial = Dialler(settings)
        services = settings.services
        self._listener = GrpcServer([CallInterceptor(verifier)])
        self._internal = GrpcServer([])
        self._work: list[Callable[[], Awaitable[None]]] = [self._report_load]
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._positions = Positions(clock, number)
        self._metrics = Metrics()
        self._chat_server: MeshChatServer | None = None
        self._tracker: Tracker | None = None
        recommender = NearestFirst(engines.registry)
        streams: list[DeviceStreams] = []

        if "chat" in services:
            sink = NotifierSink(engines.registry, dial)
            pending = CassandraPendingPush(engines.cassandra)
            log = CassandraChannelLog(engines.cassandra, engines.contacts, pending, clock)
            self._chat_server = MeshChatServer(
                self._server_id,
                MeshPorts(
                    ChannelPorts(
                        log,
                        engines.history,
                        DecisionPorts(pending, engines.memberships, engines.contacts, sink),
                    ),
                    CassandraInbox(engines.cassandra, clock, settings.inbox_days),
                    RedisRoutes(engines.shards, _ROUTE_SECONDS),
                    engines.registry,
                ),
                self._positions,
                verifier,
                clock,
                ChatSettings(rate(settings.rates.commands)),
                dial=dial,
                push_delay=settings.push_delay_seconds,
                inbox_days=settings.inbox_days,
                set_back=[each.span_ms for each in settings.set_back],
            )
            engines.lease_lost = self._chat_server.deliveries_lost
            serve_chat(self._listener, self._chat_server.chat)
            sessions, channels = self._chat_server.sessions, self._chat_server.channels
            self._metrics.chat(
                lambda: len(sessions), lambda: len(channels.sequencer), lambda: channels.messages_accepted
            )
            self._chat_server.peer_service.add_to(self._internal.server)
            self._internal.serves(peer_pb2.DESCRIPTOR)
            self._work.append(self._chat_server.run)
            self._closing.append(sink.close)
            streams.append(self._chat_server.chat)
        if "presence" in services:
            self._tracker = Tracker(engines.presence, engines.presence_news, engines.contacts, clock)
            serve_presence(self._listener, self._tracker)
            self._work.append(self._tracker.run)
            streams.append(self._tracker)
        if "api" in services:
            announcer = Announcer(engines.presence, engines.presence_news, engines.contacts)
            router = ChannelRouter(engines.registry, dial)
            passwords = password_hashing(settings)
            parts = ApiParts(
                engines.accounts,
                AnnouncedContacts(engines.contacts, announcer.relation_changed),
                engines.memberships,
                engines.history,
                engines.push_tokens,
                router,
                SignOutPublisher(engines.sign_outs, clock),
                recommender,
                TokenIssuer(keys.private, keys.key_id, clock, token_ms),
                revocations,
                passwords,
                clock,
                RedisSharedRates(engines.shards),
            )
            serve_api(self._listener, parts, settings)
            self._work += [announcer.run, router.run]
            self._closing.append(passwords.close)
        if "discovery" in services:
            serve_discovery(self._listener, recommender, engines.registry)
        if "notifier" in services:
            ports = NotifierPorts(engines.push_queue, engines.push_tokens, engines.memberships, engines.accounts)
            notifier = Notifier(settings.push, ports, clock, self._metrics.registry)
            push_queue_pb2_grpc.add_PushQueueServiceServicer_to_server(
                PushQueueService(notifier.sink), self._internal.server
            )
            self._internal.serves(push_queue_pb2.DESCRIPTOR)
            self._work.append(notifier.dispatcher.run)
            self._closing.append(notifier.dispatcher.close)
        self._sign_outs = SignOutFollower(engines.sign_outs, engines.accounts, revocations, AllStreams(*streams), clock)
        self._work.append(self._sign_outs.run)
        self._draining = False
        self._endpoint = self._internal_endpoint = ""
        self._background: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connects to the engines and puts everything together.

        Raises:
            SettingsError: A setting cannot be followed, or an engine is not there.
        """
        clock = SystemClock()
        engines = await Engines.open(settings, clock)
        try:
            renumbered = _Renumbered(engines.worker_ids)
            number = await renumbered.take() if "chat" in settings.services else 0
            node = cls(settings, engines, clock, number)
            renumbered.positions = node._positions
            if "notifier" in settings.services:
                await engines.push_queue.check_durable()
        except Refusal as refusal:
            await engines.close()
            raise SettingsError(str(refusal)) from refusal
        except BaseException:
            await engines.close()
            raise
        return node

    async def start(self) -> str:
        """Begins to serve, and enters the registry.

        Returns:
            HOST:PORT that is listened at for clients.

        Raises:
            ListenError: An address cannot be listened at.
            SettingsError: A certificate cannot be read, or an engine is not there.
        """
        settings, mesh = self._settings, self._settings.mesh
        try:
            await self._sign_outs.start()
        except Refusal as refusal:
            raise SettingsError(str(refusal)) from refusal
        internal = await self._internal.start(mesh.listen, internal_certificate(settings), settings.plaintext)
        listening = await self._listener.start(settings.listen, public_certificate(settings), settings.plaintext)
        self._metrics.start(settings.metrics_listen)
        self._endpoint = settings.advertise or listening
        self._internal_endpoint = mesh.advertise or internal
        self._background = asyncio.create_task(self._run())
        await self._register()
        return listening

    async def wait(self) -> None:
        """Waits for what runs in the background, which ends only by failing."""
        if self._background is not None:
            await asyncio.shield(self._background)

    async def drain(self) -> None:
        """Hands over: tells the others and the clients, waits until clients have moved, finishes what is under way."""
        await self._listener.drain()
        await self._internal.drain()
        try:
            await self._register(draining=True)
        except Refusal as refusal:
            _log.warning("others hear of it when the lease runs out: %s", refusal)
        if self._tracker is not None:
            self._tracker.drain()
        if self._chat_server is not None:
            chat_servers = self._engines.registry.servers(ServerKind.CHAT)
            others = [each for each in chat_servers if each.server_id != self._server_id and not each.draining]
            await self._chat_server.drain(others)
            if others:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.drain_seconds):
                        while len(self._chat_server.sessions):  # noqa: ASYNC110 - a stop is no place for more machinery
                            await asyncio.sleep(_LOOK_SECONDS)
            await self._chat_server.close()
        for service in self._settings.services:
            with contextlib.suppress(Refusal):
                await self._engines.registry.unregister(self._server_id, KINDS[service])

    async def close(self) -> None:
        """Stops everything and ends all connections."""
        await asyncio.gather(self._listener.stop(_STOP_SECONDS), self._internal.stop(_STOP_SECONDS))
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
        self._metrics.stop()
        for close in self._closing:
            await close()
        with contextlib.suppress(Refusal):
            await self._engines.worker_ids.release()
        await self._engines.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for work in self._work:
                group.create_task(_awaited(work))

    async def _report_load(self) -> None:
        while True:
            await asyncio.sleep(_LOAD_SECONDS)
            try:
                await self._register()
            except Refusal as refusal:
                _log.warning("the load is not reported: %s", refusal)

    async def _register(self, draining: bool | None = None) -> None:
        if draining is not None:
            self._draining = draining
        settings = self._settings
        streams = len(self._chat_server.sessions) if self._chat_server is not None else 0
        if self._tracker is not None:
            streams = max(streams, len(self._tracker))
        here = Server(
            self._server_id,
            ServerKind.CHAT,
            self._endpoint,
            settings.region,
            min(1.0, streams / settings.capacity),
            settings.latitude,
            settings.longitude,
            self._draining,
            self._internal_endpoint,
            len(self._chat_server.channels.sequencer) if self._chat_server is not None else 0,
        )
        for service in settings.services:
            await self._engines.registry.register(dataclasses.replace(here, kind=KINDS[service]))


class _Renumbered:
    """Takes another number when this process was away for so long that its own may be somebody else's by now."""

    def __init__(self, numbers: EtcdWorkerIds) -> None:
        self.positions: Positions | None = None
        self._numbers = numbers
        self._taking: asyncio.Task[None] | None = None

    async def take(self) -> int:
        number = await self._numbers.take(self._lost)
        if self.positions is not None:
            self.positions.renumber(number)
        return number

    def _lost(self) -> None:
        self._taking = asyncio.get_running_loop().create_task(self._take_again())

    async def _take_again(self) -> None:
        while True:
            try:
                await self.take()
                return
            except Refusal as refusal:
                _log.warning("another server number is not to be had yet: %s", refusal)
            await asyncio.sleep(_RETRY_SECONDS)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
