"""Push tokens in Cassandra: in the rows of the devices, so that signing a device out takes its token with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tidings.backends.cassandra.account_rows import is_id
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.backends.cassandra.device_users import DeviceUsers
from tidings.core.clock import Clock
from tidings.core.ports import PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushToken

_COLUMNS = "device_id, user_id, push_provider, push_token, push_preview"
_ONE = Statement(f"SELECT {_COLUMNS} FROM accounts WHERE user_id = ? AND device_id = ?")
_ALL = Statement(f"SELECT {_COLUMNS} FROM accounts WHERE user_id = ?")
# A device that was never signed in or out has null there, which is not false.
_SET = Statement(
    "UPDATE accounts SET push_provider = ?, push_token = ?, push_preview = ? WHERE user_id = ? AND device_id = ?"
    " IF signed_in != false",
    conditional=True,
)
_TAKE = "UPDATE accounts SET push_provider = null, push_token = null WHERE user_id = ? AND device_id = ?"
_REMOVE = Statement(f"{_TAKE} IF EXISTS", conditional=True)
_REMOVE_THIS = Statement(f"{_TAKE} IF push_token = ?", conditional=True)


class CassandraPushTokenStore(PushTokenStore):
    """The push tokens in Cassandra. A device that has been signed out gets none.

    Args:
        cassandra: The storage.
        clock: Tells the age of a read.
    """

    def __init__(self, cassandra: CassandraClient, clock: Clock) -> None:
        self._cassandra = cassandra
        self._device_users = DeviceUsers(cassandra, clock)

    async def set(self, token: PushToken) -> None:
        """See `PushTokenStore.set`."""
        # Apps send their token at every start, so it is usually known.
        if await self.of_device(token.device_id) == token:
            return
        await self._cassandra.execute(*DeviceUsers.keep(token.device_id, token.user_id))
        values = (token.provider, token.token, token.preview, token.user_id, token.device_id)
        await self._cassandra.execute(_SET, values)

    async def remove(self, device_id: str, token: str | None = None) -> None:
        """See `PushTokenStore.remove`."""
        user_id = await self._device_users.user_of(device_id)
        if user_id is None:
            return
        if token is None:
            await self._cassandra.execute(_REMOVE, (user_id, device_id))
        else:
            await self._cassandra.execute(_REMOVE_THIS, (user_id, device_id, token))

    async def of_device(self, device_id: str) -> PushToken | None:
        """See `PushTokenStore.of_device`."""
        user_id = await self._device_users.user_of(device_id)
        rows = await self._cassandra.execute(_ONE, (user_id, device_id)) if user_id is not None else []
        return _token(rows[0]) if rows else None

    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        """See `PushTokenStore.of_users`."""
        asked = [each for each in dict.fromkeys(user_ids) if is_id(each)]
        rows = await self._cassandra.execute_many(_ALL, [(each,) for each in asked])
        return [each for each in map(_token, rows) if each is not None]


def _token(row: Row) -> PushToken | None:
    device_id, user_id, provider, token, preview = row
    if token is None:
        return None
    return PushToken(device_id, user_id, PushProvider(provider), token, PushPreview(preview or PushPreview.FULL))
