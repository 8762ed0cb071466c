"""Servers: those that are alive, their worker ids, and those to recommend."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from tidings.core.values import Server, ServerKind


class Registry(abc.ABC):
    """The servers alive."""

    @abc.abstractmethod
    async def register(self, server: Server) -> None:
        """Add a server, or replace it by its new state."""

    @abc.abstractmethod
    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """Take a server out."""

    @abc.abstractmethod
    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """Return the servers of a kind in the latest view, by server_id, without a call to the engine."""

    @abc.abstractmethod
    def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """Yield the servers of a kind, now and after every change."""


class WorkerIds(abc.ABC):
    """Worker ids, with which servers give out positions: no two servers alive have the same one."""

    @abc.abstractmethod
    async def take(self, lost: Callable[[], None]) -> int:
        """Take a free worker id, and hold it for as long as the process lives.

        A process loses its id when it was paused, or could not reach the engine, for longer than the lease of a dead
        process lasts. It keeps the id while the engine is away, so for a moment another process may have the same one.
        Nothing that must never happen twice may rest on it.

        Args:
            lost: Called once, as soon as the process finds that it has lost the id. It may take another one then.

        Returns:
            0 to `MAX_WORKER_ID`.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when no id is free.
        """

    @abc.abstractmethod
    async def release(self) -> None:
        """Give the worker id back, if one is held, without calling `lost`."""


class Recommender(abc.ABC):
    """Recommends servers."""

    @abc.abstractmethod
    def recommend(
        self,
        kind: ServerKind,
        region: str = "",
        coordinates: tuple[float, float] | None = None,
        exclude: Collection[str] = (),
    ) -> Sequence[Server]:
        """Return the servers of a kind that suit a caller, best first.

        Args:
            kind: The kind of server.
            region: The region of the caller; empty when unknown.
            coordinates: Latitude and longitude of the caller in degrees; None when unknown.
            exclude: The ids of servers to put last.
        """
