"""The channels that wait for a decision about push, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from tidings.backends.sqlite.database import Database
from tidings.core.ports import PendingPush


class SqlitePendingPush(PendingPush):
    """The channels that wait for a decision about push, in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def channels(self) -> Mapping[str, int]:
        """See `PendingPush.channels`."""
        return await self._database.read(
            lambda connection: dict(connection.execute("SELECT channel_id, next_seq FROM pending_push"))
        )

    async def decided(self, channel_id: str, next_seq: int | None) -> None:
        """See `PendingPush.decided`."""

        def work(connection: sqlite3.Connection) -> None:
            if next_seq is None:
                connection.execute("DELETE FROM pending_push WHERE channel_id = ?", (channel_id,))
            else:
                connection.execute("REPLACE INTO pending_push VALUES (?, ?)", (channel_id, next_seq))

        await self._database.write(work)
