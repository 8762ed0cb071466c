"""Devices that were signed out lately, in Cassandra: every server asks for them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from tidings.backends.cassandra.client import CassandraClient, Statement, Write

# Cassandra's own time: a server whose clock is behind would hide its sign-outs from the others.
_KEEP = Statement(
    "INSERT INTO revocations (shard, revoked_at_ms, device_id, epoch)"
    " VALUES (?, toUnixTimestamp(now()), ?, ?) USING TTL ?"
)
_READ = Statement(
    "SELECT device_id, epoch FROM revocations WHERE shard = ? AND revoked_at_ms > toUnixTimestamp(now()) - (bigint) ?"
)
_SHARDS = 16


class SignOuts:
    """Keeps and reads sign-outs, each with the epoch up to which access tokens of the device must not work.

    Args:
        cassandra: The storage.
        kept_s: How long a sign-out is kept, in seconds.
    """

    def __init__(self, cassandra: CassandraClient, kept_s: int) -> None:
        self._cassandra = cassandra
        self._kept_s = kept_s

    def keep(self, device_id: str, epoch: int) -> Write:
        """Return the write that keeps a sign-out."""
        return _KEEP, (zlib.crc32(device_id.encode()) % _SHARDS, device_id, epoch, self._kept_s)

    async def within(self, seconds: float) -> Mapping[str, int]:
        """Return the sign-outs of the last seconds: the highest epoch of each device."""
        ms = round(seconds * 1000)
        rows = await self._cassandra.execute_many(_READ, [(shard, ms) for shard in range(_SHARDS)])
        revoked: dict[str, int] = {}
        for device_id, epoch in rows:
            revoked[device_id] = max(epoch or 0, revoked.get(device_id, 0))
        return revoked
