"""Which servers hold whose sessions: what this one makes known, and what it believes of the others."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping

from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.session import Session
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import Routes
from tidings.mesh.peer_outbox import Peers
from tidings.rpc.tasks import periodic

_log = logging.getLogger(__name__)

# While routes cannot be trusted, everyone is sent everything; more servers than that could not bear it.
_MOST_BROADCAST = 16
_LOOK_SECONDS = 1.0
_REFRESH_SECONDS = 20.0
_REFRESH_TOGETHER = 2_000


class TrustedRoutes:
    """The routes, and what to do while they are not to be trusted.

    When the engine is away or was wiped, an empty answer says nothing. Everyone is sent everything then, until all
    servers have had the time to make their sessions known again.
    """

    def __init__(self, routes: Routes, clock: Clock, settle: float = 5.0) -> None:
        """Asks `routes`; a new epoch of them is trusted after `settle` seconds."""
        self._routes = routes
        self._clock = clock
        self._settle = settle
        self._epoch: str | None = None
        self._trusted_from = 0.0

    def saw(self, epoch: str | None) -> None:
        """Notes the epoch that the routes have now; None when they cannot be asked."""
        if epoch != self._epoch:
            if self._epoch is not None or epoch is None:
                self._trusted_from = self._clock.monotonic() + self._settle
            self._epoch = epoch or "away"

    async def lookup(self, users: Collection[str], alive: Collection[str]) -> Mapping[str, Collection[str]]:
        """The other servers that hold sessions of each user; users without any are left out."""
        if not users or not alive:
            return {}
        found: Mapping[str, Collection[str]] = {}
        try:
            # The epoch comes after the routes: were they wiped before they were read, it is another one.
            found, epoch = await asyncio.gather(self._routes.lookup(users), self._routes.epoch())
            self.saw(epoch)
        except Refusal as refusal:
            _log.warning("routes are not known: %s", refusal)
            self.saw(None)
        if self._clock.monotonic() < self._trusted_from:
            everyone = tuple(alive)
            return dict.fromkeys(users, everyone) if len(everyone) <= _MOST_BROADCAST else {}
        servers_of: defaultdict[str, list[str]] = defaultdict(list)
        for server_id, there in found.items():
            if server_id in alive:
                for user in there:
                    servers_of[user].append(server_id)
        return servers_of


class OwnRoutes:
    """Makes the sessions of this server known, and known again when that was lost."""

    def __init__(self, routes: Routes, server_id: str, sessions: SessionRegistry, peers: Peers, clock: Clock) -> None:
        """Writes to `routes` that `server_id` holds the `sessions`; tells `peers` of newer ones."""
        self._routes = routes
        self._server_id = server_id
        self._sessions = sessions
        self._peers = peers
        self._clock = clock
        self._epoch = ""
        self._refreshed = 0.0
        self._leaving: set[asyncio.Task[None]] = set()

    async def enter(self, session: Session) -> None:
        """See `Registrar.enter`. While the engine is away, owners do without it, and `run` makes it good."""
        identity = session.identity
        try:
            await self._routes.add(identity.user_id, self._server_id)
            for server_id in await self._routes.lookup([identity.user_id]):
                if server_id != self._server_id and server_id in self._peers.alive:
                    self._peers.outbox(server_id).newer_stream(identity.device_id, session.opened_ms)
        except Refusal as refusal:
            _log.warning("a route is not known yet: %s", refusal)

    def leave(self, user_id: str) -> None:
        """See `Registrar.leave`."""
        task = asyncio.get_running_loop().create_task(self._leave(user_id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def run(self) -> None:
        """Watches over the routes, until cancelled."""
        await periodic(_LOOK_SECONDS, self._look)

    async def _leave(self, user_id: str) -> None:
        if self._sessions.has(user_id):
            return
        try:
            await self._routes.remove(user_id, self._server_id)
        except Refusal as refusal:
            _log.info("a route is forgotten when its time is over: %s", refusal)
            return
        if self._sessions.has(user_id):
            # Somebody came back while it was being removed.
            await self._routes.add(user_id, self._server_id)

    async def _look(self) -> None:
        now = self._clock.monotonic()
        try:
            epoch = await self._routes.epoch()
            if epoch != self._epoch or now - self._refreshed > _REFRESH_SECONDS:
                users = list(self._sessions.users())
                for at in range(0, len(users), _REFRESH_TOGETHER):
                    await self._routes.refresh(self._server_id, users[at : at + _REFRESH_TOGETHER])
                self._epoch, self._refreshed = epoch, now
        except Refusal as refusal:
            # What was lost meanwhile is written again the next time that it can be.
            _log.warning("routes cannot be kept: %s", refusal)
            self._epoch = ""
