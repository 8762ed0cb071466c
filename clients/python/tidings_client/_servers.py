"""The choice of the server to try next."""

from __future__ import annotations

from collections.abc import Sequence

from tidings.v1 import discovery_pb2


class Servers:
    """Keeps the recommended servers of one kind, and which of them have just failed.

    Args:
        home: HOST:PORT to try when no server is known; one process may serve everything.
        known: The servers recommended before, best first.
    """

    def __init__(self, home: str, known: Sequence[discovery_pb2.Server] = ()) -> None:
        self._home = discovery_pb2.Server(endpoint=home)
        self._known = list(known)
        self._failed: set[str] = set()
        self._is_advised = bool(known)

    @property
    def wants_advice(self) -> bool:
        """Whether to ask discovery before the next attempt: no server is known, or one has failed since its answer."""
        return not self._is_advised

    @property
    def excluded(self) -> list[str]:
        """The ids of the servers that have just failed."""
        failed = [server.server_id for server in self._known if server.endpoint in self._failed]
        return [server_id for server_id in failed if server_id]

    def next(self) -> discovery_pb2.Server:
        """Gives the best server that has not failed. When all have failed, they are tried again in turn."""
        for server in self._known:
            if server.endpoint not in self._failed:
                return server
        self._failed.clear()
        return self._known[0] if self._known else self._home

    def learn(self, servers: Sequence[discovery_pb2.Server]) -> None:
        """Takes a newer recommendation.

        Args:
            servers: The servers, best first; when there are none, nothing changes.
        """
        if servers:
            self._known = list(servers)
            self._is_advised = True

    def failed(self, server: discovery_pb2.Server) -> None:
        """Notes that a server could not be reached, or ended the stream."""
        self._failed.add(server.endpoint)
        self._is_advised = False

    def worked(self) -> None:
        """Notes that a stream is live, and forgets the failures: by the next time those servers may have recovered."""
        self._failed.clear()
