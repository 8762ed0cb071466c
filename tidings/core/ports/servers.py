"""Servers: which there are, their worker ids, and which to use."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from tidings.core.values import Server, ServerKind


class Registry(abc.ABC):
    """The servers alive."""

    @abc.abstractmethod
    async def register(self, server: Server) -> None:
        """Enters a server, or what has changed of it."""

    @abc.abstractmethod
    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """Takes a server out."""

    @abc.abstractmethod
    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """The servers of a kind in the latest view, ordered by server_id; answers without asking anyone."""

    @abc.abstractmethod
    def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """The servers of a kind, now and after every change."""


class WorkerIds(abc.ABC):
    """Numbers for the servers that give out positions: no two servers alive have the same."""

    @abc.abstractmethod
    async def take(self, lost: Callable[[], None]) -> int:
        """Takes a free number, and holds it for as long as the process lives.

        A process that was paused, or could not reach the others, for longer than a dead one is waited for loses it:
        `lost` is called, once, as soon as it finds out; it may take another then. While nobody can be reached, it
        keeps its number, and so may another get that for a moment: what must never happen twice is not to rest on it.

        Returns:
            0 to `MAX_WORKER_ID`.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when none is free.
        """

    @abc.abstractmethod
    async def release(self) -> None:
        """Gives the number back, if one is held; `lost` is not called."""


class Recommender(abc.ABC):
    """Which servers to use."""

    @abc.abstractmethod
    def recommend(
        self,
        kind: ServerKind,
        region: str = "",
        coordinates: tuple[float, float] | None = None,
        exclude: Collection[str] = (),
    ) -> Sequence[Server]:
        """The servers of a kind that suit somebody, best first; none when there is none.

        Args:
            kind: What they are to serve.
            region: Where the caller is; empty when unknown.
            coordinates: Where exactly: latitude and longitude in degrees.
            exclude: The ids of servers that come last.
        """
