"""The rows of an account in Cassandra: one partition, which many servers may change, but never two at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tidings.backends.cassandra.client import CassandraClient, Row, Statement, Write
from tidings.core.errors import Refusal
from tidings.core.values import Device, Platform, User

T = TypeVar("T")

_LOAD = (
    "SELECT version, username, display_name, about, created_at_ms, password_hash, names,"
    " device_id, device_name, platform, added_at_ms, last_active_at_ms, epoch, signed_in, refresh_hash, family"
    " FROM accounts WHERE user_id = ?"
)
_SEEN = Statement(_LOAD)
_SETTLED = Statement(_LOAD, serial=True)
_VERSION = Statement("UPDATE accounts SET version = ? WHERE user_id = ? IF version = ?", conditional=True)

# How often a change may end without an answer. Losing to another change does not count, because that one was done.
_FAILURES = 3


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """A device of an account, signed in or out."""

    device: Device
    signed_in: bool
    refresh_hash: bytes | None
    """The hash of its working refresh token."""
    family: bytes | None
    """The hash of the refresh token from which the working one descends."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is stored. One that does not exist has no user."""

    version: str | None = None
    user: User | None = None
    password_hash: str | None = None
    names: int = 0
    devices: Mapping[str, StoredDevice] = field(default_factory=dict)

    @property
    def signed_in(self) -> Sequence[Device]:
        """The devices that are signed in, oldest first."""
        devices = [each.device for each in self.devices.values() if each.signed_in]
        return sorted(devices, key=lambda each: (each.created_at_ms, each.device_id))


@dataclass(frozen=True, slots=True)
class AccountChange(Generic[T]):
    """A change of an account: its writes, and the result for the caller. Without `writes`, nothing is changed."""

    result: T
    writes: Sequence[Write] = ()
    """Writes to the account's partition, of which all are done or none."""
    before: Sequence[Write] = ()
    """Writes to other tables, done first. They do no harm if `writes` are not done."""
    after: Sequence[Write] = ()
    """Writes to other tables, done last, that clean up. They do no harm if they are missing."""


class AccountRows:
    """Reads and changes accounts, one at a time.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra

    async def load(self, user_id: str) -> Account:
        """Read an account, with every change whose caller has been answered."""
        return _account(user_id, await self._cassandra.execute(_SEEN, (user_id,)))

    async def change(self, user_id: str, plan: Callable[[Account], AccountChange[T]]) -> T:
        """Change an account.

        Args:
            user_id: The user of the account.
            plan: Makes the change for the account as it is. It is called again when the account has changed in the
                meantime. It must recognise its own earlier change where a second one would do harm.

        Returns:
            The result of the change that was done.

        Raises:
            Exception: The exception that the plan raises.
        """
        begun: dict[str, AccountChange[T]] = {}
        account = await self.load(user_id)
        while True:
            # A change may have been done although Cassandra did not answer.
            change = begun.get(account.version or "") or plan(account)
            if not change.writes or account.version in begun:
                break
            await self._all(change.before)
            version = secrets.token_hex(8)
            try:
                if await self._commit(user_id, account.version, version, change.writes):
                    break
            except Refusal:
                if len(begun) + 1 == _FAILURES:
                    raise
                begun[version] = change
            account = _account(user_id, await self._cassandra.execute(_SETTLED, (user_id,)))
        # Rows that are not cleaned up do no harm.
        with contextlib.suppress(Refusal):
            await self._all(change.after)
        return change.result

    async def _commit(self, user_id: str, old: str | None, new: str, writes: Sequence[Write]) -> bool:
        rows = await self._cassandra.batch([(_VERSION, (new, user_id, old)), *writes], conditional=True)
        return bool(rows[0][0])

    async def _all(self, writes: Iterable[Write]) -> None:
        await asyncio.gather(*(self._cassandra.execute(statement, values) for statement, values in writes))


def is_id(text: str) -> bool:
    """Tell whether a text can be an id. A text from a client may be empty, or too long for a key."""
    return 0 < len(text) <= 128


def _account(user_id: str, rows: Sequence[Row]) -> Account:
    if not rows:
        return Account()
    version, username, display_name, about, created_at_ms, password_hash, names = rows[0][:7]
    user = User(user_id, username, display_name, about, created_at_ms) if username is not None else None
    devices = (_device(user_id, row[7:]) for row in rows)
    return Account(
        version, user, password_hash, names or 0, {each.device.device_id: each for each in devices if each is not None}
    )


def _device(user_id: str, row: Row) -> StoredDevice | None:
    device_id, device_name, platform, added_at_ms, last_active_at_ms, epoch, signed_in, refresh_hash, family = row
    # A row may hold a push token and nothing else.
    if added_at_ms is None:
        return None
    device = Device(device_id, user_id, device_name, Platform(platform), added_at_ms, last_active_at_ms, epoch or 0)
    return StoredDevice(device, signed_in, refresh_hash, family)
