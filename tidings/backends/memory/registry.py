"""The servers of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from tidings.core.ports import Registry
from tidings.core.values import Server, ServerKind


class MemoryRegistry(Registry):
    """What the services of one process have registered; it needs no lease, since they die together."""

    def __init__(self) -> None:
        """No server is there."""
        self._servers: dict[ServerKind, dict[str, Server]] = {kind: {} for kind in ServerKind}
        # Set at the next change of a kind, and replaced then.
        self._changes = {kind: asyncio.Event() for kind in ServerKind}

    async def register(self, server: Server) -> None:
        """See `Registry.register`."""
        servers = self._servers[server.kind]
        if servers.get(server.server_id) != server:
            servers[server.server_id] = server
            self._changed(server.kind)

    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """See `Registry.unregister`."""
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
