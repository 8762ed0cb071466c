"""Push tokens in SQLite."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from tidings.backends.sqlite.database import Database
from tidings.core.ports import PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushToken

_TOKEN_COLUMNS = "device_id, user_id, provider, token, preview"


class SqlitePushTokenStore(PushTokenStore):
    """The push tokens in SQLite. A device that has been signed out gets none.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, token: PushToken) -> None:
        """See `PushTokenStore.set`."""
        row = (token.device_id, token.user_id, token.provider, token.token, token.preview)
        await self._database.write(
            lambda connection: connection.execute(
                f"REPLACE INTO push_tokens ({_TOKEN_COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5"
                " WHERE NOT EXISTS (SELECT 1 FROM devices WHERE device_id = ?1 AND NOT signed_in)",
                row,
            )
        )

    async def remove(self, device_id: str, token: str | None = None) -> None:
        """See `PushTokenStore.remove`."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM push_tokens WHERE device_id = ?1 AND (?2 IS NULL OR token = ?2)", (device_id, token)
            )
        )

    async def of_device(self, device_id: str) -> PushToken | None:
        """See `PushTokenStore.of_device`."""
        row = await self._database.read(
            lambda connection: connection.execute(
                f"SELECT {_TOKEN_COLUMNS} FROM push_tokens WHERE device_id = ?", (device_id,)
            ).fetchone()
        )
        return _token(row) if row is not None else None

    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        """See `PushTokenStore.of_users`."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                f"SELECT {_TOKEN_COLUMNS} FROM push_tokens WHERE user_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(user_ids)),),
            ).fetchall()
        )
        return [_token(row) for row in rows]


def _token(row: tuple[Any, ...]) -> PushToken:
    """Make a token of a row of _TOKEN_COLUMNS."""
    device_id, user_id, provider, token, preview = row
    return PushToken(device_id, user_id, PushProvider(provider), token, PushPreview(preview))
