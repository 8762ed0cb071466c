"""Several Redis servers as one: each key is on one of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

from tidings.backends.redis.pipeline import AutoPipeline

_SLOTS = 4096


class Shards:
    """Redis servers that know nothing of one another.

    A key has a slot, and a slot has the server that wins it by rendezvous hashing. A server that is added takes over
    its fair share of the slots; no slot moves between the others. That is the way to scale out. All processes must be
    given the same servers, in any order. Since all of this state is soft, a key that moves is simply learnt again.

    Args:
        urls: Where the servers are; see `AutoPipeline`.
        prefix: How all keys and channels begin.

    Raises:
        ValueError: There is no server, or one is named twice.
    """

    def __init__(self, urls: Sequence[str], prefix: str = "tidings:") -> None:
        self.pipelines: Sequence[AutoPipeline] = [AutoPipeline(url) for url in urls]
        self.prefix = prefix
        if not urls or len({pipeline.name for pipeline in self.pipelines}) < len(urls):
            raise ValueError("needs the URL of at least one Redis server, each once")
        self._slots = [max(self.pipelines, key=lambda each: _weight(slot, each.name)) for slot in range(_SLOTS)]

    def of(self, key: str) -> AutoPipeline:
        """Return the server of a key, such as a user's id."""
        return self._slots[crc32(key.encode()) % _SLOTS]

    def split(self, keys: Collection[str]) -> Mapping[AutoPipeline, list[str]]:
        """Group keys by their server."""
        if len(self.pipelines) == 1:
            return {self.pipelines[0]: list(keys)} if keys else {}
        parts: dict[AutoPipeline, list[str]] = {}
        for key in keys:
            parts.setdefault(self.of(key), []).append(key)
        return parts

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(pipeline.close() for pipeline in self.pipelines))


def _weight(slot: int, name: str) -> bytes:
    return hashlib.blake2b(f"{slot} {name}".encode(), digest_size=8).digest()
