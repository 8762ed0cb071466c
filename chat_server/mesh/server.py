"""One chat server of a mesh, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from grpc import aio

from chat_server.channels.local import ChannelPorts, LocalChannels
from chat_server.mesh.fanout import MeshFanout
from chat_server.mesh.peer_service import PeerService
from chat_server.mesh.routed import DeliveryReceiver, RoutedChannels
from chat_server.mesh.routes import OwnRoutes, TrustedRoutes
from chat_server.server import ChatServer, ChatSettings
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import Inbox, Registry, Routes
from tidings.core.positions import Positions
from tidings.core.values import ServerKind
from tidings.mesh.peer_outbox import Peers
from tidings.mesh.placement import Placement
from tidings.mesh.router import ChannelRouter
from tidings.rpc.tasks import whenever
from tidings.rpc.tokens import TokenVerifier

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MeshPorts:
    """The engines of a chat server in a mesh."""

    channels: ChannelPorts
    inbox: Inbox
    routes: Routes
    registry: Registry


class MeshChatServer:
    """The sessions and channels of one server of a mesh, and its links to the others. Nothing runs before `run`.

    Args:
        server_id: Its name in the registry.
        ports: The engines.
        positions: Numbers events.
        verifier: Checks newer tokens.
        clock: Tells the time.
        settings: What an operator may set.
        dial: Makes a channel to another server's internal endpoint.
    """

    def __init__(
        self,
        server_id: str,
        ports: MeshPorts,
        positions: Positions,
        verifier: TokenVerifier,
        clock: Clock,
        settings: ChatSettings,
        dial: Callable[[str], aio.Channel],
    ) -> None:
        self._server_id = server_id
        self._registry = ports.registry
        sessions = SessionRegistry()
        self._peers = Peers()
        self._routes = OwnRoutes(ports.routes, server_id, sessions, self._peers, clock)
        self._fanout = MeshFanout(sessions, self._peers, TrustedRoutes(ports.routes, clock), ports.inbox)
        self._receiver = DeliveryReceiver(sessions, clock)
        self.router = ChannelRouter(ports.registry, dial, server_id, self._receiver)
        self.channels = LocalChannels(
            ports.channels,
            self._fanout,
            positions,
            clock,
            settings.push_delay,
            revoked=verifier.revoked,
            is_mine=self.router.is_mine,
            is_finished=self._fanout.is_finished,
        )
        self.router.when_changed(self._placement_changed)
        self._changed = asyncio.Event()
        # The placement as channels were taken up last, and those since.
        self._placements = [Placement()]
        self.chat = ChatServer(
            sessions,
            RoutedChannels(self.channels, self.router),
            CatchUp(server_id, ports.channels.log, ports.inbox, clock, settings.inbox_days, settings.restored),
            verifier,
            clock,
            settings,
            self._routes,
        )
        self.peer_service = PeerService(self.channels, self._peers)

    async def run(self) -> None:
        """Do the work beside the streams, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (
                self.router.run,
                self._follow_peers,
                self._routes.run,
                self._fanout.run,
                self.channels.run,
                self.chat.run,
            ):
                group.create_task(work())
            group.create_task(whenever(self._changed, self._take_over, _RETRY_SECONDS))

    async def close(self) -> None:
        """Finish what is under way, and end the sessions that are left.

        The server must be registered as draining before, so that others sequence its channels.
        """
        await self.channels.close()
        await self._fanout.finish()
        self.chat.close()

    def deliveries_lost(self) -> None:
        """End all sessions: this server was cut off, or its lease was lost, so they may lack events."""
        self._receiver.deliveries_lost()

    def _placement_changed(self, placement: Placement) -> None:
        self._placements.append(placement)
        self._changed.set()

    async def _take_over(self) -> None:
        """Channels have changed hands: drop those of others, and take up unfinished work in this server's own."""
        placements = tuple(self._placements)
        try:
            await self.channels.change_hands(partial(self._is_mine_in_all, placements))
        except Refusal as refusal:
            _log.warning("what others have left undone is not taken up yet: %s", refusal)
            self._changed.set()
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            del self._placements[: len(placements) - 1]

    def _is_mine_in_all(self, placements: Sequence[Placement], channel_id: str) -> bool:
        return all(placement.server_of(channel_id) == self._server_id for placement in placements)

    async def _follow_peers(self) -> None:
        async for servers in self._registry.watch(ServerKind.CHAT):
            self._peers.update([each.server_id for each in servers if each.server_id != self._server_id])
