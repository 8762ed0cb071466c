"""Which other servers hold a user's sessions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping

from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import Routes

_log = logging.getLogger(__name__)

# While routes cannot be trusted, everyone is sent everything; more servers than that could not bear it.
_MOST_BROADCAST = 16


class TrustedRoutes:
    """The routes, and what to do while they are not to be trusted.

    When Redis is away or was wiped, an empty answer says nothing. Everyone is sent everything then, until all servers
    have had the time to make their sessions known again.
    """

    def __init__(self, routes: Routes, server_id: str, clock: Clock, settle: float = 5.0) -> None:
        """Asks `routes`, from the server `server_id`; a new generation of them is trusted after `settle` seconds."""
        self._routes = routes
        self._server_id = server_id
        self._clock = clock
        self._settle = settle
        self._generation = ""
        self._trusted_from = 0.0

    def seen(self, generation: str | None) -> bool:
        """Notes the generation that the routes have now, None when they cannot be asked; True when it is a new one."""
        if generation == self._generation and generation is not None:
            return False
        is_first = not self._generation
        self._generation = generation or "away"
        self._trusted_from = self._clock.monotonic() + (0.0 if is_first else self._settle)
        return True

    async def lookup(self, users: Collection[str], alive: Collection[str]) -> Mapping[str, Collection[str]]:
        """The other servers that hold sessions of each user; users without any are left out."""
        if not users or not alive:
            return {}
        try:
            found = await self._routes.lookup(users)
        except Refusal as refusal:
            _log.warning("routes are not known: %s", refusal)
            self.seen(None)
            found = None
        if found is None or self._clock.monotonic() < self._trusted_from:
            everyone = tuple(alive) if len(alive) <= _MOST_BROADCAST else ()
            return dict.fromkeys(users, everyone) if everyone else {}
        servers_of: defaultdict[str, list[str]] = defaultdict(list)
        for server_id, there in found.items():
            if server_id in alive:
                for user in there:
                    servers_of[user].append(server_id)
        return servers_of
