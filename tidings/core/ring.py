"""Which chat server owns a channel: rendezvous hashing.

Every server that sees the same servers names the same owner, without a word between them. When a server goes, its
channels alone move, and they spread over all that are left; when one comes, it takes its share from everyone.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

# Weighing every server for every message would cost a microsecond a server: the answer is remembered.
_REMEMBERED = 100_000


class Ring:
    """The servers that may own channels."""

    def __init__(self, server_ids: Iterable[str] = ()) -> None:
        """Chooses among some servers; with none there is no owner."""
        self.server_ids = frozenset(server_ids)
        self._keys = [(server_id.encode()[:64], server_id) for server_id in sorted(self.server_ids)]
        self._owners: dict[str, str] = {}

    def owner(self, channel_id: str) -> str | None:
        """The owner of a channel; None when there is no server."""
        owner = self._owners.get(channel_id)
        if owner is None and self._keys:
            name = channel_id.encode()
            owner = max(self._keys, key=lambda each: (blake2b(name, digest_size=8, key=each[0]).digest(), each[1]))[1]
            if len(self._owners) >= _REMEMBERED:
                self._owners.clear()
            self._owners[channel_id] = owner
        return owner
