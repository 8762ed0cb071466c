"""The services of one server of a mesh, and its ways to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chat_server.channels.local import ChannelPorts
from chat_server.channels.push_decider import DecisionPorts
from chat_server.mesh.server import MeshChatServer, MeshPorts
from notifier.service import PushQueueService
from presence_server.announcer import Announcer
from presence_server.contacts import AnnouncedContacts
from presence_server.tracker import Tracker
from tidings.backends.cassandra.inbox import CassandraInbox
from tidings.backends.cassandra.log import CassandraChannelLog
from tidings.backends.cassandra.pending_push import CassandraPendingPush
from tidings.backends.redis.routes import RedisRoutes
from tidings.core.errors import Refusal
from tidings.core.ports import DeviceStreams
from tidings.internal.v1 import peer_pb2, push_queue_pb2, push_queue_pb2_grpc
from tidings.mesh.notifier_sink import NotifierSink
from tidings.mesh.router import ChannelRouter
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings_server.certificates import Dialler, internal_certificate
from tidings_server.device_streams import AllStreams
from tidings_server.engines import NodeContext, Services
from tidings_server.mesh.engines import MeshEngines
from tidings_server.mesh.sign_outs import SignOutFollower, SignOutPublisher
from tidings_server.notifier import Notifier, NotifierPorts
from tidings_server.servicers import chat_settings
from tidings_server.settings import SettingsError

# They are refreshed every 20 s; several times may fail.
_ROUTE_SECONDS = 180.0


class MeshServices(Services):
    """The services that are set, and a listener for other servers, which no client may reach.

    Args:
        engines: Where everything is kept.
        node: What all services are given.

    Raises:
        SettingsError: A setting cannot be followed.
    """

    def __init__(self, engines: MeshEngines, node: NodeContext) -> None:
        self._engines = engines
        self._node = node
        self._dial = Dialler(node.settings)
        self._internal = GrpcServer([CallInterceptor(None)])
        self._work: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        streams: list[DeviceStreams] = [node.calls]
        offered = node.settings.services
        self.chat = self.tracker = None
        if "chat" in offered:
            self.chat = self._chat_server()
            streams.append(self.chat.chat)
        # At once here, and soon everywhere, here again included.
        self.device_streams = AllStreams(*streams, SignOutPublisher(engines.sign_outs))
        if "presence" in offered:
            self.tracker = Tracker(engines.presence, engines.presence_pubsub, engines.contacts, node.clock)
            self._work.append(self.tracker.run)
            streams.append(self.tracker)
        announcer = Announcer(engines.presence, engines.presence_pubsub, engines.contacts)
        self.contacts = AnnouncedContacts(engines.contacts, announcer.relation_changed)
        self.writer = router = ChannelRouter(engines.registry, self._dial)
        if "api" in offered:
            self._work += [announcer.run, router.run]
        if "notifier" in offered:
            self._add_notifier()
        self._sign_outs = SignOutFollower(
            engines.sign_outs, engines.accounts, node.revocations, AllStreams(*streams), node.clock
        )
        self._work.append(self._sign_outs.run)

    async def start(self) -> str:
        """See `Services.start`."""
        settings = self._node.settings
        try:
            await self._sign_outs.start()
        except Refusal as refusal:
            raise SettingsError(str(refusal)) from refusal
        self.listening = await self._internal.start(
            settings.mesh.listen, internal_certificate(settings), settings.plaintext
        )
        return settings.mesh.advertise or self.listening

    async def run(self) -> None:
        """See `Services.run`."""
        async with asyncio.TaskGroup() as group:
            for work in self._work:
                group.create_task(work())

    async def drain(self) -> None:
        """See `Services.drain`."""
        self._internal.drain()

    async def stop(self, grace: float) -> None:
        """See `Services.stop`."""
        await self._internal.stop(grace)

    async def close(self) -> None:
        """See `Services.close`."""
        for close in self._closing:
            await close()

    def _chat_server(self) -> MeshChatServer:
        """Put a chat server together, and its service for other servers onto the internal listener."""
        engines, node = self._engines, self._node
        sink = NotifierSink(engines.registry, self._dial)
        pending = CassandraPendingPush(engines.cassandra)
        log = CassandraChannelLog(engines.cassandra, engines.contacts, pending, node.clock)
        ports = MeshPorts(
            ChannelPorts(log, engines.history, DecisionPorts(pending, engines.memberships, engines.contacts, sink)),
            CassandraInbox(engines.cassandra, node.clock, node.settings.inbox_days),
            RedisRoutes(engines.shards, _ROUTE_SECONDS),
            engines.registry,
        )
        chat_server = MeshChatServer(
            node.server_id,
            ports,
            engines.positions,
            node.verifier,
            node.clock,
            chat_settings(node.settings),
            self._dial,
        )
        engines.lease_lost = chat_server.deliveries_lost
        chat_server.peer_service.add_to(self._internal.server)
        self._internal.serves(peer_pb2.DESCRIPTOR)
        self._work.append(chat_server.run)
        self._closing.append(sink.close)
        return chat_server

    def _add_notifier(self) -> None:
        """Put a notifier together, and its queue for other servers onto the internal listener."""
        engines, node = self._engines, self._node
        ports = NotifierPorts(engines.push_queue, engines.push_tokens, engines.memberships, engines.accounts)
        notifier = Notifier(node.settings.push, ports, node.clock, node.metrics)
        service = PushQueueService(notifier.sink)
        push_queue_pb2_grpc.add_PushQueueServiceServicer_to_server(service, self._internal.server)
        self._internal.serves(push_queue_pb2.DESCRIPTOR)
        self._work.append(notifier.dispatcher.run)
        self._closing.append(notifier.dispatcher.close)
