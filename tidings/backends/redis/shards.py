"""Several Redis servers as one: what belongs to a user is on one of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

from tidings.backends.redis.pipeline import Pipeline

_SLOTS = 4096


class Shards:
    """Redis servers that know nothing of one another.

    A key has a slot, a slot has the server that wins it by rendezvous hashing: another server takes over its fair
    share of the slots, and none moves between the others. That is the way to scale out; all processes must be given
    the same servers, in whatever order. Since all of this state is soft, what moves is simply learnt again.
    """

    def __init__(self, urls: Sequence[str], prefix: str = "tidings:") -> None:
        """Uses the servers at `urls`; all keys and channels begin with `prefix`.

        Raises:
            ValueError: No server, or one twice.
        """
        self.links: Sequence[Pipeline] = [Pipeline(url) for url in urls]
        self.prefix = prefix
        if not urls or len({link.name for link in self.links}) < len(urls):
            raise ValueError("needs the URL of at least one Redis server, each once")
        self._slots = [max(self.links, key=lambda link: _weight(slot, link.name)) for slot in range(_SLOTS)]

    def of(self, key: str) -> Pipeline:
        """The server for a key: a user's id, say."""
        return self._slots[crc32(key.encode()) % _SLOTS]

    def split(self, keys: Collection[str]) -> Mapping[Pipeline, list[str]]:
        """Keys by the server of each."""
        if len(self.links) == 1:
            return {self.links[0]: list(keys)} if keys else {}
        parts: dict[Pipeline, list[str]] = {}
        for key in keys:
            parts.setdefault(self.of(key), []).append(key)
        return parts

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(link.close() for link in self.links))


def _weight(slot: int, name: str) -> bytes:
    return hashlib.blake2b(f"{slot} {name}".encode(), digest_size=8).digest()
