"""A chat server among others, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from grpc import aio

from chat_server.fanout import MeshFanout
from chat_server.live import LiveSessions
from chat_server.mesh import Arrivals, MeshChannels
from chat_server.owned import OwnedChannels, OwnerPorts
from chat_server.peer_service import PeerService
from chat_server.peers import Peers
from chat_server.replay import Replayer
from chat_server.routes import OwnRoutes, TrustedRoutes
from chat_server.server import ChatServer, ChatSettings
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import Inbox, Registry, Routes
from tidings.core.positions import Positions
from tidings.core.ring import Ring
from tidings.core.values import Server, ServerKind
from tidings.rpc.owners import Owners
from tidings.rpc.tokens import TokenVerifier

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MemberPorts:
    """What a chat server among others stands on."""

    owner: OwnerPorts
    inbox: Inbox
    routes: Routes
    registry: Registry


class Member:
    """The sessions and channels of one server of a mesh, and its links to the others."""

    def __init__(
        self,
        server_id: str,
        ports: MemberPorts,
        positions: Positions,
        verifier: TokenVerifier,
        clock: Clock,
        settings: ChatSettings,
        *,
        dial: Callable[[str], aio.Channel],
        push_delay: float,
        inbox_days: int,
        set_back: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Puts a server together; nothing runs before `run`.

        Args:
            server_id: Its name in the registry.
            ports: The engines.
            positions: Numbers events.
            verifier: Checks newer tokens.
            clock: Tells the time.
            settings: Of the sessions.
            dial: Makes a channel to another server's internal endpoint.
            push_delay: Seconds without an acknowledgement after which a push goes out.
            inbox_days: Days that an inbox keeps what was not received.
            set_back: What was lost when older copies of the data were restored; see `Replayer`.
        """
        self._server_id = server_id
        self._registry = ports.registry
        self.live = LiveSessions()
        self._peers = Peers()
        self._routes = OwnRoutes(ports.routes, server_id, self.live, self._peers, clock)
        self._fanout = MeshFanout(self.live, self._peers, TrustedRoutes(ports.routes, clock), ports.inbox)
        self._arrivals = Arrivals(self.live)
        self.owners = Owners(ports.registry, dial, server_id, self._arrivals)
        self.owned = OwnedChannels(
            ports.owner,
            self._fanout,
            positions,
            clock,
            push_delay,
            is_mine=self.owners.is_mine,
            is_finished=self._fanout.is_finished,
        )
        self.owners.when_changed(self._ring_changed)
        self._changed = asyncio.Event()
        # The ring as channels were taken up last, and those since.
        self._rings = [Ring()]
        self.chat = ChatServer(
            self.live,
            MeshChannels(self.owned, self.owners),
            Replayer(server_id, ports.owner.log, ports.inbox, clock, inbox_days, set_back),
            verifier,
            clock,
            settings,
            self._routes,
        )
        self.peer_service = PeerService(self.owned, self._peers)

    async def run(self) -> None:
        """Does what has to be done beside the streams, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (
                self.owners.run,
                self._follow_peers,
                self._routes.run,
                self._fanout.run,
                self.owned.run,
                self.chat.run,
                self._take_over,
            ):
                group.create_task(work())

    async def drain(self, others: Sequence[Server]) -> None:
        """Hands over: takes no new sessions and tells those who are here where else to go.

        The server must be known as draining already, so that others own its channels.
        """
        self.chat.drain(others)

    async def close(self) -> None:
        """Finishes what is under way, and ends the sessions that are left."""
        await self.owned.close()
        await self._fanout.finish()
        self.chat.close()

    def missed(self) -> None:
        """This server was taken for gone for a while, or cut off: its sessions may lack events."""
        self._arrivals.missed()

    def _ring_changed(self, ring: Ring) -> None:
        self._rings.append(ring)
        self._changed.set()

    async def _take_over(self) -> None:
        """Whenever channels change hands: lets go of those that are others' now, takes up what theirs left undone."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            rings = tuple(self._rings)
            try:
                await self.owned.change_hands(partial(self._owned_in_all, rings))
            except Refusal as refusal:
                _log.warning("what others have left undone is not taken up yet: %s", refusal)
                self._changed.set()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                del self._rings[: len(rings) - 1]

    def _owned_in_all(self, rings: Sequence[Ring], channel_id: str) -> bool:
        return all(ring.owner(channel_id) == self._server_id for ring in rings)

    async def _follow_peers(self) -> None:
        async for servers in self._registry.watch(ServerKind.CHAT):
            self._peers.update([each.server_id for each in servers if each.server_id != self._server_id])
