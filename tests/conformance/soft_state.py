"""The engines of soft state: presence and the registry. Another engine is one more entry here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from tidings.backends.memory.presence import MemoryPresenceNews, MemoryPresenceStore
from tidings.backends.memory.registry import MemoryRegistry
from tidings.core.ports import PresenceNews, PresenceStore, Registry


@dataclass(frozen=True)
class SoftPorts:
    """The ports of one engine, empty."""

    presence_store: PresenceStore
    presence_news: PresenceNews
    registry: Registry


@asynccontextmanager
async def memory() -> AsyncIterator[SoftPorts]:
    yield SoftPorts(MemoryPresenceStore(), MemoryPresenceNews(), MemoryRegistry())


SOFT_ENGINES: dict[str, Callable[[], AbstractAsyncContextManager[SoftPorts]]] = {"memory": memory}
