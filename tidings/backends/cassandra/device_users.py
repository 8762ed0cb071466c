"""Which user a device belongs to, in Cassandra."""

from __future__ import annotations

from tidings.backends.cache import ReadThroughCache
from tidings.backends.cassandra.account_rows import is_id
from tidings.backends.cassandra.client import CassandraClient, Statement, Write
from tidings.core.clock import Clock

_FIND = Statement("SELECT user_id FROM device_users WHERE device_id = ?")
_KEEP = Statement("INSERT INTO device_users (device_id, user_id) VALUES (?, ?)")

# A device never changes hands, so an answer stays true.
_REMEMBERED_S = 24 * 3600.0


class DeviceUsers:
    """Finds the users of devices, and remembers them.

    Args:
        cassandra: The storage.
        clock: Tells the age of a read.
    """

    def __init__(self, cassandra: CassandraClient, clock: Clock) -> None:
        self._cassandra = cassandra
        self._users = ReadThroughCache(self._read, clock, _REMEMBERED_S)

    async def user_of(self, device_id: str) -> str | None:
        """Return the user of a device; None when there is no such device."""
        return await self._users.get(device_id)

    @staticmethod
    def keep(device_id: str, user_id: str) -> Write:
        """Return the write that makes a device known."""
        return _KEEP, (device_id, user_id)

    async def _read(self, device_id: str) -> str | None:
        rows = await self._cassandra.execute(_FIND, (device_id,)) if is_id(device_id) else []
        return str(rows[0][0]) if rows else None
