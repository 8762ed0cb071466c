"""Users, devices and refresh tokens in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tidings.backends.sqlite.database import Database
from tidings.core.errors import not_found
from tidings.core.ids import new_device_id
from tidings.core.limits import SIGNED_OUT_DEVICES
from tidings.core.ports import AccountStore, Credentials, RefreshTokenReused, TooManyDevices, UsernameTaken
from tidings.core.search_keys import PREFIX_CHARACTERS, key_prefixes, search_key
from tidings.core.values import Device, Platform, User

USER_COLUMNS = "user_id, username, display_name, about, created_at_ms"
_DEVICE_COLUMNS = "device_id, user_id, device_name, platform, created_at_ms, last_active_at_ms, epoch"

# The prefixes come first, in the order of the page, so only as many rows are read as the page has, and those left out.
_SEARCH = f"""
SELECT {", ".join(f"u.{column}" for column in USER_COLUMNS.split(", "))}
FROM name_prefixes p CROSS JOIN users u ON u.username = p.username
WHERE p.prefix = substr(:prefix, 1, {PREFIX_CHARACTERS}) AND p.username > :after
    AND :prefix IN (substr(u.username, 1, length(:prefix)), substr(u.search_key, 1, length(:prefix)))
    AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.user_id = u.user_id AND b.blocked_id = :asked_by)
ORDER BY p.username LIMIT :limit
"""

_SPENT_KEPT_MS = 30 * 24 * 3600 * 1000


class SqliteAccountStore(AccountStore):
    """The accounts in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_user(self, user: User, password_hash: str, device: Device, refresh_hash: bytes) -> None:
        """See `AccountStore.create_user`."""
        username = user.username.lower()

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM users WHERE username = ?", (username,)).fetchone():
                raise UsernameTaken(username)
            connection.execute(
                f"INSERT INTO users ({USER_COLUMNS}, password_hash) VALUES (?, ?, ?, ?, ?, ?)",
                (user.user_id, username, user.display_name, user.about, user.created_at_ms, password_hash),
            )
            _enter_names(connection, username, user.display_name)
            _insert_device(connection, replace(device, epoch=0))
            _set_refresh_token(connection, device.device_id, refresh_hash)

        await self._database.write(work)

    async def credentials(self, username: str) -> Credentials | None:
        """See `AccountStore.credentials`."""

        def work(connection: sqlite3.Connection) -> Credentials | None:
            row = connection.execute(
                f"SELECT password_hash, {USER_COLUMNS} FROM users WHERE username = ?", (username,)
            ).fetchone()
            return Credentials(User(*row[1:]), row[0]) if row else None

        return await self._database.read(work)

    async def password_hash(self, user_id: str) -> str | None:
        """See `AccountStore.password_hash`."""

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT password_hash FROM users WHERE user_id = ?", (user_id,)).fetchone()
            return row[0] if row else None

        return await self._database.read(work)

    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """See `AccountStore.users`."""
        asked = json.dumps(list(user_ids))
        return await self._database.read(
            lambda connection: {
                row[0]: User(*row)
                for row in connection.execute(
                    f"SELECT {USER_COLUMNS} FROM users WHERE user_id IN (SELECT value FROM json_each(?))", (asked,)
                )
            }
        )

    async def search(self, prefix: str, after: str, limit: int, asked_by: str) -> Sequence[User]:
        """See `AccountStore.search`."""
        asked = {"prefix": prefix, "after": after, "limit": limit, "asked_by": asked_by}
        return await self._database.read(lambda connection: [User(*row) for row in connection.execute(_SEARCH, asked)])

    async def update_profile(self, user_id: str, display_name: str | None, about: str | None) -> User:
        """See `AccountStore.update_profile`."""

        def work(connection: sqlite3.Connection) -> User:
            connection.execute(
                "UPDATE users SET display_name = coalesce(?, display_name), about = coalesce(?, about)"
                " WHERE user_id = ?",
                (display_name, about, user_id),
            )
            row = connection.execute(f"SELECT {USER_COLUMNS} FROM users WHERE user_id = ?", (user_id,)).fetchone()
            if row is None:
                raise not_found("user", "user_id")
            user = User(*row)
            if display_name is not None:
                _enter_names(connection, user.username, user.display_name)
            return user

        return await self._database.write(work)

    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, keep_device_id: str
    ) -> Mapping[str, int] | None:
        """See `AccountStore.set_password`."""

        def work(connection: sqlite3.Connection) -> Mapping[str, int] | None:
            if not _replace_hash(connection, user_id, old_hash, new_hash):
                return None
            others = [
                device_id
                for (device_id,) in connection.execute(
                    "SELECT device_id FROM devices WHERE user_id = ? AND signed_in AND device_id <> ?",
                    (user_id, keep_device_id),
                )
            ]
            return _revoke(connection, others)

        return await self._database.write(work)

    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """See `AccountStore.rehash_password`."""
        await self._database.write(lambda connection: _replace_hash(connection, user_id, old_hash, new_hash))

    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        """See `AccountStore.sign_in_device`."""

        def work(connection: sqlite3.Connection) -> Device:
            kept = _sign_in(connection, device, most)
            return replace(kept, epoch=_set_refresh_token(connection, kept.device_id, refresh_hash))

        return await self._database.write(work)

    async def rotate_refresh_token(self, spent_hash: bytes, new_hash: bytes, now_ms: int) -> Device | None:
        """See `AccountStore.rotate_refresh_token`."""

        def work(connection: sqlite3.Connection) -> Device | RefreshTokenReused | None:
            token = connection.execute(
                "SELECT device_id, spent_at_ms FROM refresh_tokens WHERE token_hash = ?", (spent_hash,)
            ).fetchone()
            if token is None:
                return None
            device_id, spent_at_ms = token
            if not spent_at_ms:
                _spend_refresh_token(connection, device_id, spent_hash, new_hash, now_ms)
            elif not _is_current(connection, device_id, new_hash):
                revoked = _revoke(connection, [device_id])
                # Returned, because raising it here would undo the revocation.
                return RefreshTokenReused(device_id, revoked[device_id])
            return _device(
                connection.execute(
                    f"SELECT {_DEVICE_COLUMNS} FROM devices WHERE device_id = ?", (device_id,)
                ).fetchone()
            )

        outcome = await self._database.write(work)
        if isinstance(outcome, RefreshTokenReused):
            raise outcome
        return outcome

    async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> int | None:
        """See `AccountStore.replace_refresh_token`."""

        def work(connection: sqlite3.Connection) -> int | None:
            if not connection.execute(
                "SELECT 1 FROM devices WHERE device_id = ? AND signed_in", (device_id,)
            ).fetchone():
                return None
            return _set_refresh_token(connection, device_id, new_hash)

        return await self._database.write(work)

    async def devices(self, user_id: str) -> Sequence[Device]:
        """See `AccountStore.devices`."""
        return await self._database.read(
            lambda connection: [
                _device(row)
                for row in connection.execute(
                    f"SELECT {_DEVICE_COLUMNS} FROM devices WHERE user_id = ? AND signed_in"
                    " ORDER BY created_at_ms, device_id",
                    (user_id,),
                )
            ]
        )

    async def revoke_device(self, user_id: str, device_id: str) -> int | None:
        """See `AccountStore.revoke_device`."""

        def work(connection: sqlite3.Connection) -> int | None:
            if not connection.execute(
                "SELECT 1 FROM devices WHERE device_id = ? AND user_id = ? AND signed_in", (device_id, user_id)
            ).fetchone():
                return None
            return _revoke(connection, [device_id])[device_id]

        return await self._database.write(work)

    async def revoked(self, within: float) -> Mapping[str, int]:
        """See `AccountStore.revoked`. All that were not forgotten: SQLite has no time of its own."""
        return await self._database.read(
            lambda connection: dict(connection.execute("SELECT device_id, epoch FROM revocations"))
        )

    async def forget_revoked(self, revoked: Mapping[str, int]) -> None:
        """See `AccountStore.forget_revoked`."""
        await self._database.write(
            lambda connection: connection.executemany(
                "DELETE FROM revocations WHERE device_id = ? AND epoch <= ?", list(revoked.items())
            )
        )


def _device(row: tuple[Any, ...]) -> Device:
    device_id, user_id, device_name, platform, created_at_ms, last_active_at_ms, epoch = row
    return Device(device_id, user_id, device_name, Platform(platform), created_at_ms, last_active_at_ms, epoch)


def _enter_names(connection: sqlite3.Connection, username: str, display_name: str) -> None:
    """Write what searches find a user by, instead of what they did before."""
    key = search_key(display_name)
    (before,) = connection.execute("SELECT search_key FROM users WHERE username = ?", (username,)).fetchone()
    connection.execute("UPDATE users SET search_key = ? WHERE username = ?", (key, username))
    old, new = key_prefixes(username, before), key_prefixes(username, key)
    for statement, prefixes in (
        ("DELETE FROM name_prefixes WHERE prefix = ? AND username = ?", old - new),
        ("INSERT OR IGNORE INTO name_prefixes VALUES (?, ?)", new),
    ):
        connection.executemany(statement, [(prefix, username) for prefix in prefixes])


def _insert_device(connection: sqlite3.Connection, device: Device) -> None:
    connection.execute(
        f"INSERT INTO devices ({_DEVICE_COLUMNS}, signed_in) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (
            device.device_id,
            device.user_id,
            device.device_name,
            device.platform,
            device.created_at_ms,
            device.last_active_at_ms,
            device.epoch,
        ),
    )


def _forget_oldest(connection: sqlite3.Connection, user_id: str) -> None:
    """Forget the user's oldest signed-out devices, when there are too many."""
    connection.execute(
        "DELETE FROM devices WHERE device_id IN (SELECT device_id FROM devices WHERE user_id = ? AND NOT signed_in"
        " ORDER BY last_active_at_ms DESC LIMIT -1 OFFSET ?)",
        (user_id, SIGNED_OUT_DEVICES),
    )


def _sign_in(connection: sqlite3.Connection, device: Device, most: int) -> Device:
    """Sign in the user's device with the same id, or else a new one, unless `most` others are signed in."""
    known = connection.execute(
        f"SELECT {_DEVICE_COLUMNS}, signed_in FROM devices WHERE device_id = ? AND user_id = ?",
        (device.device_id, device.user_id),
    ).fetchone()
    if known is None or not known[-1]:
        (count,) = connection.execute(
            "SELECT count(*) FROM devices WHERE user_id = ? AND signed_in", (device.user_id,)
        ).fetchone()
        if count >= most:
            raise TooManyDevices(device.user_id)
    if known is None:
        kept = replace(device, device_id=new_device_id())
        _insert_device(connection, kept)
        _forget_oldest(connection, device.user_id)
    else:
        kept = replace(_device(known[:-1]), last_active_at_ms=device.last_active_at_ms)
        connection.execute(
            "UPDATE devices SET signed_in = 1, last_active_at_ms = ? WHERE device_id = ?",
            (kept.last_active_at_ms, kept.device_id),
        )
    return kept


def _replace_hash(connection: sqlite3.Connection, user_id: str, old_hash: str, new_hash: str) -> bool:
    return (
        connection.execute(
            "UPDATE users SET password_hash = ? WHERE user_id = ? AND password_hash = ?", (new_hash, user_id, old_hash)
        ).rowcount
        == 1
    )


def _insert_refresh_token(connection: sqlite3.Connection, device_id: str, token_hash: bytes) -> int:
    """Give a device a refresh token; return the device's new epoch."""
    connection.execute("INSERT INTO refresh_tokens VALUES (?, ?, 0)", (token_hash, device_id))
    ((epoch,),) = connection.execute(
        "UPDATE devices SET epoch = epoch + 1 WHERE device_id = ? RETURNING epoch", (device_id,)
    )
    return int(epoch)


def _spend_refresh_token(
    connection: sqlite3.Connection, device_id: str, spent_hash: bytes, new_hash: bytes, now_ms: int
) -> None:
    connection.execute("UPDATE refresh_tokens SET spent_at_ms = ? WHERE token_hash = ?", (now_ms, spent_hash))
    connection.execute(
        "DELETE FROM refresh_tokens WHERE device_id = ? AND spent_at_ms BETWEEN 1 AND ?",
        (device_id, now_ms - _SPENT_KEPT_MS),
    )
    _insert_refresh_token(connection, device_id, new_hash)
    connection.execute("UPDATE devices SET last_active_at_ms = ? WHERE device_id = ?", (now_ms, device_id))


def _is_current(connection: sqlite3.Connection, device_id: str, token_hash: bytes) -> bool:
    """Tell whether a token is the unspent one of a device."""
    found = connection.execute(
        "SELECT 1 FROM refresh_tokens WHERE token_hash = ? AND device_id = ? AND spent_at_ms = 0",
        (token_hash, device_id),
    )
    return found.fetchone() is not None


def _set_refresh_token(connection: sqlite3.Connection, device_id: str, token_hash: bytes) -> int:
    """Make a token the only refresh token of a device; return the device's new epoch."""
    connection.execute("DELETE FROM refresh_tokens WHERE device_id = ?", (device_id,))
    return _insert_refresh_token(connection, device_id, token_hash)


def _revoke(connection: sqlite3.Connection, device_ids: Iterable[str]) -> Mapping[str, int]:
    """Sign devices out; return them with the epochs up to which access tokens must not work."""
    revoked: dict[str, int] = {}
    for device_id in device_ids:
        ((revoked[device_id],),) = connection.execute(
            "UPDATE devices SET signed_in = 0 WHERE device_id = ? RETURNING epoch", (device_id,)
        )
        connection.execute("REPLACE INTO revocations VALUES (?, ?)", (device_id, revoked[device_id]))
        connection.execute("DELETE FROM refresh_tokens WHERE device_id = ?", (device_id,))
        connection.execute("DELETE FROM push_tokens WHERE device_id = ?", (device_id,))
    return revoked
