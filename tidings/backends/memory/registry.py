"""The registry of the servers of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tidings.backends.servers_view import ServersView
from tidings.core.ports import Registry
from tidings.core.values import Server, ServerKind


class MemoryRegistry(Registry):
    """The servers of one process. They need no lease, because they end with the process."""

    def __init__(self) -> None:
        self._view = ServersView()

    async def register(self, server: Server) -> None:
        """See `Registry.register`."""
        self._view.put(server)

    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """See `Registry.unregister`."""
        self._view.drop(server_id, kind)

    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """See `Registry.servers`."""
        return self._view.servers(kind)

    def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """See `Registry.watch`. Changes that come while the consumer is busy become one."""
        return self._view.watch(kind)
