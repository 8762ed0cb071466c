"""Several chat servers in one process, on one SQLite database: a mesh without its engines, but with its links."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from chat_server.channels.local import ChannelPorts
from chat_server.channels.push_decider import DecisionPorts
from chat_server.mesh.server import MeshChatServer, MeshPorts
from chat_server.server import ChatSettings
from chat_server.service import ChatService
from tests.support.memory_routes import MemoryRoutes
from tests.support.raw import Api, Device
from tidings.backends.memory.registry import MemoryRegistry
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.backends.sqlite.pending_push import SqlitePendingPush
from tidings.core.clock import SystemClock
from tidings.core.ports import PushSink
from tidings.core.positions import Positions
from tidings.core.rate import Rate
from tidings.core.values import PushRead, PushRequest, Server, ServerKind
from tidings.mesh.router import ChannelRouter
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.server import GrpcServer
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings.v1 import account_pb2

_TOKEN_MS = 3_600_000


class WipeableRoutes(MemoryRoutes):
    """Routes that can be lost, as a Redis that is wiped loses them."""

    def __init__(self, clock: SystemClock) -> None:
        super().__init__(clock)
        self._lives = 0

    def wipe(self) -> None:
        self._routes.clear()
        self._lives += 1

    async def epoch(self) -> str:
        return str(self._lives)


class NobodyToWake(PushSink):
    """Takes pushes to nowhere: nobody here has a push token."""

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        pass

    async def cancel(self, reads: Sequence[PushRead]) -> None:
        pass


class Node:
    """One chat server of the mesh."""

    def __init__(self, mesh: Mesh, number: int) -> None:
        self.server_id = f"chat-{number}"
        self._mesh = mesh
        database, clock = mesh.database, mesh.clock
        decision = DecisionPorts(
            SqlitePendingPush(database), SqliteMemberships(database), SqliteContactStore(database), NobodyToWake()
        )
        channels = ChannelPorts(SqliteChannelLog(database), SqliteHistory(database), decision)
        self.chat_server = MeshChatServer(
            self.server_id,
            MeshPorts(channels, SqliteInbox(database), mesh.routes, mesh.registry),
            Positions(clock, number),
            mesh.verifier,
            clock,
            ChatSettings(Rate(1e6, 1e6)),
            aio.insecure_channel,
        )
        self._public = GrpcServer([CallInterceptor(mesh.verifier, LiveCalls())])
        ChatService(self.chat_server.chat).add_to(self._public.server)
        self._internal = GrpcServer([CallInterceptor(None)])
        self.chat_server.peer_service.add_to(self._internal.server)
        self._task: asyncio.Task[None] | None = None
        self.endpoint = self.internal = ""
        self._here: Server | None = None

    async def start(self) -> None:
        self.endpoint = await self._public.start("127.0.0.1:0")
        self.internal = internal = await self._internal.start("127.0.0.1:0")
        self._task = asyncio.create_task(self.chat_server.run())
        self._here = Server(self.server_id, ServerKind.CHAT, self.endpoint, "here", 0.0, internal=internal)
        await self._mesh.registry.register(self._here)

    async def vanish(self) -> None:
        """It is gone, without a word to anybody."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(self._public.stop(0), self._internal.stop(0))

    async def leave(self) -> None:
        """It drains, and stops."""
        assert self._task is not None and self._here is not None
        await self._mesh.registry.register(
            Server(
                self.server_id, ServerKind.CHAT, self.endpoint, "here", 0.0, draining=True, internal=self._here.internal
            )
        )
        others = [node._here for node in self._mesh.nodes if node is not self and node._here is not None]
        self.chat_server.chat.drain(others)
        await self.chat_server.close()
        await self._mesh.registry.unregister(self.server_id, ServerKind.CHAT)
        await self.vanish()


@dataclass
class Mesh:
    """The mesh, and what all of it shares."""

    database: Database
    clock: SystemClock
    registry: MemoryRegistry
    routes: WipeableRoutes
    issuer: TokenIssuer
    verifier: TokenVerifier
    nodes: list[Node]
    router: ChannelRouter

    def device(self, node: Node, user_id: str, device: str = "") -> Device:
        """A signed-in device that talks to one of the servers."""
        token, _ = self.issuer.issue(user_id, device or f"{user_id}-device")
        answer = account_pb2.LogInResponse(
            user=account_pb2.User(user_id=user_id, username=user_id),
            device_id=device,
            tokens=account_pb2.Tokens(access_token=token),
        )
        return Device(Api(node.endpoint), answer)

    def sequencer(self, channel_id: str) -> Node:
        """The server that owns a channel."""
        sequencer = self.router.placement.server_of(channel_id)
        return next(node for node in self.nodes if node.server_id == sequencer)

    def channel_of(self, node: Node, kind: str = "g") -> str:
        """A name for a channel that a server owns."""
        return next(name for n in range(1_000) if self.sequencer(name := f"{kind}{n}") is node)

    async def until_known(self) -> None:
        """Waits until every server is linked to every other, and so is the way in from here."""
        for node in self.nodes:
            await _until_linked(node.chat_server.router, len(self.nodes) - 1)
        await _until_linked(self.router, len(self.nodes))


async def _until_linked(router: ChannelRouter, count: int) -> None:
    async with asyncio.timeout(10):
        while len(router.links) < count:
            await asyncio.sleep(0)
        for link in list(router.links):
            await link.is_open.wait()


@asynccontextmanager
async def little_mesh(folder: Path, servers: int) -> AsyncIterator[Mesh]:
    """A mesh whose servers know one another."""
    database, clock = Database(folder), SystemClock()
    key = Ed25519PrivateKey.generate()
    registry = MemoryRegistry()
    verifier = TokenVerifier({"k": key.public_key()}, clock, Revocations(clock, _TOKEN_MS))
    mesh = Mesh(
        database,
        clock,
        registry,
        WipeableRoutes(clock),
        TokenIssuer(key, "k", clock, _TOKEN_MS),
        verifier,
        [],
        ChannelRouter(registry, aio.insecure_channel),
    )
    following = asyncio.create_task(mesh.router.run())
    mesh.nodes = [Node(mesh, number) for number in range(servers)]
    try:
        for node in mesh.nodes:
            await node.start()
        await mesh.until_known()
        yield mesh
    finally:
        following.cancel()
        for node in mesh.nodes:
            with contextlib.suppress(Exception):
                await node.vanish()
        await asyncio.gather(following, return_exceptions=True)
        await database.close()
