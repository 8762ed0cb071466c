"""One account: a partition of its own, changed by many servers at once and never by two at the same time."""

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
    " device_id, device_name, platform, added_at_ms, last_active_at_ms, signed_in, refresh_hash, family"
    " FROM accounts WHERE user_id = ?"
)
_SEEN = Statement(_LOAD)
_SETTLED = Statement(_LOAD, serial=True)
_VERSION = Statement("UPDATE accounts SET version = ? WHERE user_id = ? IF version = ?", conditional=True)

# Losing to another change is no failure: somebody got on. This counts changes whose end Cassandra did not tell.
_FAILURES = 3


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """A device that is known."""

    device: Device
    signed_in: bool
    refresh_hash: bytes | None
    """Of its working refresh token."""
    family: bytes | None
    """The hash of the refresh token that this one descends from."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is stored; without a user when there is none."""

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
    """What to do to an account, and what to answer then. Without `writes` there is nothing to do."""

    result: T
    writes: Sequence[Write] = ()
    """To the account's partition; all are done or none."""
    before: Sequence[Write] = ()
    """To other tables: what must be there when the writes are, and does no harm without them."""
    after: Sequence[Write] = ()
    """To other tables: what takes away that nobody needs once the writes are there."""


class AccountRows:
    """The accounts, one at a time."""

    def __init__(self, cassandra: CassandraClient) -> None:
        """Reads and writes `cassandra`."""
        self._cassandra = cassandra

    async def load(self, user_id: str) -> Account:
        """An account with all changes that anyone was told of."""
        return _account(user_id, await self._cassandra.execute(_SEEN, (user_id,)))

    async def change(self, user_id: str, plan: Callable[[Account], AccountChange[T]]) -> T:
        """Changes an account.

        Args:
            user_id: Whose.
            plan: Says what to do to the account as it is; asked again when that has changed meanwhile. It must know
                again what it did before, if that could be done a second time.

        Returns:
            The plan's result, once it is done.

        Raises:
            Exception: What the plan raises.
        """
        begun: dict[str, AccountChange[T]] = {}
        account = await self.load(user_id)
        while True:
            # A change may have been done although Cassandra did not say so.
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
        # What is left lying about does no harm.
        with contextlib.suppress(Refusal):
            await self._all(change.after)
        return change.result

    async def _commit(self, user_id: str, old: str | None, new: str, writes: Sequence[Write]) -> bool:
        rows = await self._cassandra.batch([(_VERSION, (new, user_id, old)), *writes], conditional=True)
        return bool(rows[0][0])

    async def _all(self, writes: Iterable[Write]) -> None:
        await asyncio.gather(*(self._cassandra.execute(statement, values) for statement, values in writes))


def is_id(text: str) -> bool:
    """Whether something can be the id of anyone: what a caller sends may be too long for a key, or empty."""
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
    device_id, device_name, platform, added_at_ms, last_active_at_ms, signed_in, refresh_hash, family = row
    # A row may have a push token and nothing else.
    if added_at_ms is None:
        return None
    device = Device(device_id, user_id, device_name, Platform(platform), added_at_ms, last_active_at_ms)
    return StoredDevice(device, signed_in, refresh_hash, family)
