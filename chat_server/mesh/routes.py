"""Routes: which server holds whose sessions. This server announces its own, and looks up the others."""

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
from tidings.rpc.tasks import TaskSet, periodic

_log = logging.getLogger(__name__)

# While routes cannot be trusted, everyone is sent everything; more servers than that could not bear it.
_MOST_BROADCAST = 16
_LOOK_SECONDS = 1.0
_REFRESH_SECONDS = 20.0
_REFRESH_TOGETHER = 2_000


class TrustedRoutes:
    """The routes, and what to do while they are not to be trusted.

    When the engine is away or was wiped, an empty answer says nothing. All entries go to all servers then, until every
    server has had the time to announce its sessions again.

    Args:
        routes: The engine.
        clock: Gives monotonic seconds.
        settle: Seconds after which a new epoch of the routes is trusted.
    """

    def __init__(self, routes: Routes, clock: Clock, settle: float = 5.0) -> None:
        self._routes = routes
        self._clock = clock
        self._settle = settle
        self._epoch: str | None = None
        self._trusted_from = 0.0

    def saw(self, epoch: str | None) -> None:
        """Note the present epoch of the routes; None when they cannot be asked."""
        if epoch != self._epoch:
            if self._epoch is not None or epoch is None:
                self._trusted_from = self._clock.monotonic() + self._settle
            self._epoch = epoch or "away"

    async def lookup(self, users: Collection[str], alive: Collection[str]) -> Mapping[str, Collection[str]]:
        """Find the other servers that hold sessions of each user; users without any are left out."""
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
    """Announces the sessions of this server, and announces them again when that was lost.

    Args:
        routes: The engine.
        server_id: This server.
        sessions: Its sessions.
        peers: The other servers, which hear of newer streams.
        clock: Gives monotonic seconds.
    """

    def __init__(self, routes: Routes, server_id: str, sessions: SessionRegistry, peers: Peers, clock: Clock) -> None:
        self._routes = routes
        self._server_id = server_id
        self._sessions = sessions
        self._peers = peers
        self._clock = clock
        self._epoch = ""
        self._refreshed = 0.0
        self._leaving = TaskSet()

    async def enter(self, session: Session) -> None:
        """See `Registrar.enter`. While the engine is away, sequencers do without it, and `run` makes up for it."""
        identity = session.identity
        try:
            await self._routes.add(identity.user_id, self._server_id)
            for server_id in await self._routes.lookup([identity.user_id]):
                if server_id != self._server_id and server_id in self._peers.alive:
                    open_for = self._clock.monotonic() - session.opened
                    self._peers.outbox(server_id).newer_stream(identity.device_id, open_for)
        except Refusal as refusal:
            _log.warning("a route is not known yet: %s", refusal)

    def leave(self, user_id: str) -> None:
        """See `Registrar.leave`."""
        self._leaving.start(self._leave(user_id))

    async def run(self) -> None:
        """Keep the routes, until cancelled."""
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
