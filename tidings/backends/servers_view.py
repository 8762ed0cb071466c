"""A view of the servers alive, for the registries of all engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from tidings.core.values import Server, ServerKind


class ServersView:
    """Servers by kind and id, which can be watched."""

    def __init__(self) -> None:
        self._servers: dict[ServerKind, dict[str, Server]] = {kind: {} for kind in ServerKind}
        # Set at the next change of a kind, and replaced then.
        self._changes = {kind: asyncio.Event() for kind in ServerKind}

    def put(self, server: Server) -> None:
        """Add a server, or replace it by its new state."""
        servers = self._servers[server.kind]
        if servers.get(server.server_id) != server:
            servers[server.server_id] = server
            self._changed(server.kind)

    def drop(self, server_id: str, kind: ServerKind) -> None:
        """Take a server out, if it is in the view."""
        if self._servers[kind].pop(server_id, None) is not None:
            self._changed(kind)

    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """See `Registry.servers`."""
        servers = self._servers[kind]
        return [servers[server_id] for server_id in sorted(servers)]

    async def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """See `Registry.watch`. Changes that come while the consumer is busy become one."""
        while True:
            change = self._changes[kind]
            yield self.servers(kind)
            await change.wait()

    def _changed(self, kind: ServerKind) -> None:
        change, self._changes[kind] = self._changes[kind], asyncio.Event()
        change.set()
