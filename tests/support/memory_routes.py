"""Which chat servers hold sessions of whom, in the memory of one process."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tidings.core.clock import Clock
from tidings.core.ports import Routes


class MemoryRoutes(Routes):
    """The routes among the chat servers of one process."""

    def __init__(self, clock: Clock, lifetime_seconds: float = 60.0) -> None:
        """A route is forgotten `lifetime_seconds` after it was added or refreshed last, by the seconds of `clock`."""
        self._clock = clock
        self._lifetime = lifetime_seconds
        # By user: the servers, with when they are forgotten.
        self._routes: dict[str, dict[str, float]] = {}

    async def add(self, user_id: str, server_id: str) -> None:
        """See `Routes.add`."""
        await self.refresh(server_id, [user_id])

    async def remove(self, user_id: str, server_id: str) -> None:
        """See `Routes.remove`."""
        servers = self._routes.get(user_id, {})
        servers.pop(server_id, None)
        if not servers:
            self._routes.pop(user_id, None)

    async def refresh(self, server_id: str, user_ids: Collection[str]) -> None:
        """See `Routes.refresh`."""
        until = self._clock.monotonic() + self._lifetime
        for user_id in user_ids:
            self._routes.setdefault(user_id, {})[server_id] = until

    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """See `Routes.lookup`."""
        now = self._clock.monotonic()
        found: dict[str, list[str]] = {}
        for user_id in user_ids:
            servers = self._routes.get(user_id, {})
            for server_id in [server_id for server_id, until in servers.items() if until <= now]:
                await self.remove(user_id, server_id)
            for server_id in servers:
                found.setdefault(server_id, []).append(user_id)
        return found

    async def epoch(self) -> str:
        """See `Routes.epoch`: always the same, since it is lost only with the process."""
        return "memory"
