"""Contacts and blocks in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from tidings.backends.sqlite.accounts import USER_COLUMNS
from tidings.backends.sqlite.database import Database
from tidings.core.ports import ContactStore
from tidings.core.values import Contact, User

_OTHERS = "SELECT value FROM json_each(:others)"

_BLOCKED_EITHER_WAY = f"""
SELECT blocked_id FROM blocks WHERE user_id = :user AND blocked_id IN ({_OTHERS})
UNION SELECT user_id FROM blocks WHERE blocked_id = :user AND user_id IN ({_OTHERS})
"""

_RELATED = f"""
SELECT contact_id FROM contacts WHERE user_id = :user AND contact_id IN ({_OTHERS})
UNION SELECT user_id FROM contacts WHERE contact_id = :user AND user_id IN ({_OTHERS})
UNION SELECT theirs.user_id FROM memberships mine JOIN memberships theirs USING (channel_id)
    WHERE mine.user_id = :user AND mine.until_seq = 0
        AND theirs.until_seq = 0 AND theirs.user_id <> :user AND theirs.user_id IN ({_OTHERS})
"""


_CONTACT_COUNT = """
SELECT contacts - EXISTS (SELECT 1 FROM contacts WHERE user_id = :user AND contact_id = :besides)
FROM relation_counts WHERE user_id = :user
"""
_BLOCKED_COUNT = """
SELECT blocks - EXISTS (SELECT 1 FROM blocks WHERE user_id = :user AND blocked_id = :besides)
FROM relation_counts WHERE user_id = :user
"""


class SqliteContactStore(ContactStore):
    """The contacts in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: str, contact_id: str, now_ms: int) -> int:
        """See `ContactStore.add`."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(
                "INSERT INTO contacts VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (user_id, contact_id, now_ms)
            )
            (added_at_ms,) = connection.execute(
                "SELECT added_at_ms FROM contacts WHERE user_id = ? AND contact_id = ?", (user_id, contact_id)
            ).fetchone()
            return int(added_at_ms)

        return await self._database.write(work)

    async def remove(self, user_id: str, contact_id: str) -> None:
        """See `ContactStore.remove`."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM contacts WHERE user_id = ? AND contact_id = ?", (user_id, contact_id)
            )
        )

    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """See `ContactStore.contacts`."""
        columns = ", ".join(f"u.{column}" for column in USER_COLUMNS.split(", "))
        return await self._database.read(
            lambda connection: [
                Contact(User(*row[1:]), row[0])
                for row in connection.execute(
                    f"SELECT c.added_at_ms, {columns} FROM contacts c JOIN users u ON u.user_id = c.contact_id"
                    " WHERE c.user_id = ? ORDER BY u.username",
                    (user_id,),
                )
            ]
        )

    async def contact_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.contact_count`. Triggers keep the count."""
        return await self._count(_CONTACT_COUNT, user_id, besides)

    async def watchers(self, user_id: str) -> Collection[str]:
        """See `ContactStore.watchers`."""
        return await self._database.read(
            lambda connection: {
                watcher_id
                for (watcher_id,) in connection.execute("SELECT user_id FROM contacts WHERE contact_id = ?", (user_id,))
            }
        )

    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        """See `ContactStore.block`."""
        row = (user_id, blocked_id, now_ms)
        await self._database.write(
            lambda connection: connection.execute("INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        )

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """See `ContactStore.unblock`."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM blocks WHERE user_id = ? AND blocked_id = ?", (user_id, blocked_id)
            )
        )

    async def blocked(self, user_id: str) -> Sequence[User]:
        """See `ContactStore.blocked`."""
        return await self._database.read(
            lambda connection: [
                User(*row)
                for row in connection.execute(
                    f"SELECT {USER_COLUMNS} FROM users"
                    " WHERE user_id IN (SELECT b.blocked_id FROM blocks b WHERE b.user_id = ?) ORDER BY username",
                    (user_id,),
                )
            ]
        )

    async def blocked_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.blocked_count`. Triggers keep the count."""
        return await self._count(_BLOCKED_COUNT, user_id, besides)

    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.blocked_either_way`."""
        return await self._ids(_BLOCKED_EITHER_WAY, user_id, others)

    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.related`."""
        return await self._ids(_RELATED, user_id, others)

    async def _count(self, query: str, user_id: str, besides: str) -> int:
        asked = {"user": user_id, "besides": besides}
        row = await self._database.read(lambda connection: connection.execute(query, asked).fetchone())
        return row[0] if row else 0

    async def _ids(self, query: str, user_id: str, others: Collection[str]) -> Collection[str]:
        asked = {"user": user_id, "others": json.dumps(list(others))}
        return await self._database.read(lambda connection: {found for (found,) in connection.execute(query, asked)})
