"""Users, devices and refresh tokens in Cassandra."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tidings.backends.cache import ReadThroughCache
from tidings.backends.cassandra.account_rows import Account, AccountChange, AccountRows, is_id
from tidings.backends.cassandra.client import CassandraClient, Statement, Write
from tidings.backends.cassandra.contact_rows import ContactRows
from tidings.backends.cassandra.device_users import DeviceUsers
from tidings.backends.cassandra.name_index import NameIndex, begins
from tidings.backends.cassandra.sign_outs import SignOuts
from tidings.core.clock import Clock
from tidings.core.errors import Refusal, not_found
from tidings.core.ids import new_device_id
from tidings.core.limits import SIGNED_OUT_DEVICES
from tidings.core.ports import AccountStore, Credentials, RefreshTokenReused, TooManyDevices, UsernameTaken
from tidings.core.values import Device, User

T = TypeVar("T")

_CLAIM = Statement(
    "INSERT INTO usernames (username, user_id, unfinished) VALUES (?, ?, ?) IF NOT EXISTS", conditional=True
)
_CLAIMED = Statement("SELECT user_id FROM usernames WHERE username = ?", serial=True)
_NAME = Statement("SELECT user_id, unfinished FROM usernames WHERE username = ?")
_FINISHED = Statement("UPDATE usernames SET unfinished = null WHERE username = ? IF user_id = ?", conditional=True)

_USER_COLUMNS = "user_id, username, display_name, about, created_at_ms"
_USER = Statement(f"SELECT DISTINCT {_USER_COLUMNS} FROM accounts WHERE user_id = ?")
_CREDENTIALS = Statement(f"SELECT DISTINCT {_USER_COLUMNS}, password_hash FROM accounts WHERE user_id = ?")

_MAKE = Statement(
    "UPDATE accounts SET username = ?, display_name = ?, about = ?, created_at_ms = ?, password_hash = ?, names = ?"
    " WHERE user_id = ?"
)
_PROFILE = Statement("UPDATE accounts SET display_name = ?, about = ?, names = ? WHERE user_id = ?")
_PASSWORD = Statement("UPDATE accounts SET password_hash = ? WHERE user_id = ?")
_SIGN_IN = Statement(
    "UPDATE accounts SET device_name = ?, platform = ?, added_at_ms = ?, last_active_at_ms = ?, epoch = ?,"
    " signed_in = true, refresh_hash = ?, family = ? WHERE user_id = ? AND device_id = ?"
)
_ROTATE = Statement(
    "UPDATE accounts SET refresh_hash = ?, last_active_at_ms = ?, epoch = ? WHERE user_id = ? AND device_id = ?"
)
_REPLACE = Statement("UPDATE accounts SET refresh_hash = ?, family = ?, epoch = ? WHERE user_id = ? AND device_id = ?")
_SIGN_OUT = Statement(
    "UPDATE accounts SET signed_in = false, refresh_hash = null, family = null, push_provider = null, push_token = null"
    " WHERE user_id = ? AND device_id = ?"
)
_FORGET_DEVICE = Statement("DELETE FROM accounts WHERE user_id = ? AND device_id = ?")

_TOKEN_COLUMNS = "token_hash, user_id, device_id, family"
_TOKEN = Statement("SELECT user_id, device_id, family FROM refresh_tokens WHERE token_hash = ?")
_KEEP_TOKEN = Statement(f"INSERT INTO refresh_tokens ({_TOKEN_COLUMNS}) VALUES (?, ?, ?, ?)")
_SPEND_TOKEN = Statement(f"INSERT INTO refresh_tokens ({_TOKEN_COLUMNS}) VALUES (?, ?, ?, ?) USING TTL ?")
_FORGET_TOKEN = Statement("DELETE FROM refresh_tokens WHERE token_hash = ?")

_SPENT_KEPT_S = 31 * 24 * 3600

# How many users more than wanted are read: some may have blocked the asker, or have another name by now.
_SEARCH_SPARE = 10


@dataclass(frozen=True, slots=True)
class _SignOut:
    """The writes that sign devices out, as parts of an `AccountChange`."""

    revoked: dict[str, int] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    before: list[Write] = field(default_factory=list)
    after: list[Write] = field(default_factory=list)


class CassandraAccountStore(AccountStore):
    """The accounts in Cassandra.

    `users` and `search` may show a user as they were `users_age_s` ago when another process has changed them; changes
    by this process show at once. Everything else is current. Of the devices that are signed out, the hundred that were
    active last stay known.

    Args:
        cassandra: The storage.
        clock: Tells the age of a read.
        revocations_kept_s: How long `revoked` remembers, in seconds; longer than an access token can work.
        users_age_s: How old a user that is shown may be, in seconds.
    """

    def __init__(
        self, cassandra: CassandraClient, clock: Clock, *, revocations_kept_s: int = 3600, users_age_s: float = 2.0
    ) -> None:
        self._cassandra = cassandra
        self._accounts = AccountRows(cassandra)
        self._device_users = DeviceUsers(cassandra, clock)
        self._names = NameIndex(cassandra)
        self._contact_rows = ContactRows(cassandra)
        self._sign_outs = SignOuts(cassandra, revocations_kept_s)
        self._users = ReadThroughCache(self._read_user, clock, users_age_s, most=50_000)

    async def create_user(self, user: User, password_hash: str, device: Device, refresh_hash: bytes) -> None:
        """See `AccountStore.create_user`."""
        made = replace(user, username=user.username.lower())
        # The row of the name holds the whole account, so that signing in can finish it if this process ends here.
        await self._claim(made, password_hash)

        def plan(account: Account) -> AccountChange[None]:
            if account.user is not None:
                # The user has signed in since, which finished the account.
                raise UsernameTaken(made.username)
            change = self._make(made, password_hash)
            return replace(
                change,
                writes=[*change.writes, _sign_in(replace(device, epoch=1), refresh_hash)],
                before=[*change.before, *_known(device, refresh_hash)],
            )

        await self._accounts.change(made.user_id, plan)
        await self._finished(made)

    async def credentials(self, username: str) -> Credentials | None:
        """See `AccountStore.credentials`."""
        rows = await self._cassandra.execute(_NAME, (username,))
        if not rows:
            return None
        user_id, unfinished = rows[0]
        if unfinished is not None:
            display_name, about, password_hash, created_at_ms = unfinished
            await self._finish(User(user_id, username, display_name, about, created_at_ms), password_hash)
        ((*user, password_hash),) = await self._cassandra.execute(_CREDENTIALS, (user_id,))
        return Credentials(User(*user), password_hash)

    async def password_hash(self, user_id: str) -> str | None:
        """See `AccountStore.password_hash`."""
        return (await self._accounts.load(user_id)).password_hash

    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """See `AccountStore.users`."""
        asked = [each for each in dict.fromkeys(user_ids) if is_id(each)]
        found = await asyncio.gather(*(self._users.get(each) for each in asked))
        return {user.user_id: user for user in found if user is not None}

    async def search(self, prefix: str, after: str, limit: int, asked_by: str) -> Sequence[User]:
        """See `AccountStore.search`."""
        found: list[User] = []
        async with contextlib.aclosing(self._names.pages(prefix, after, limit + _SEARCH_SPARE)) as pages:
            async for user_ids in pages:
                users, blocking = await asyncio.gather(
                    self.users(user_ids), self._contact_rows.blocking(asked_by, user_ids)
                )
                found += [each for each in users.values() if each.user_id not in blocking and begins(each, prefix)]
                if len(found) >= limit:
                    break
        return found[:limit]

    async def update_profile(self, user_id: str, display_name: str | None, about: str | None) -> User:
        """See `AccountStore.update_profile`."""

        def plan(account: Account) -> AccountChange[User]:
            if account.user is None:
                raise not_found("user", "user_id")
            user, number = account.user, account.names + 1
            changed = replace(
                user,
                display_name=user.display_name if display_name is None else display_name,
                about=user.about if about is None else about,
            )
            if changed == user:
                return AccountChange(user)
            is_renamed = changed.display_name != user.display_name
            return AccountChange(
                changed,
                writes=[(_PROFILE, (changed.display_name, changed.about, number, user_id))],
                before=self._names.enter(changed, number) if is_renamed else (),
                after=self._names.leave(user, changed, number) if is_renamed else (),
            )

        try:
            return await self._accounts.change(user_id, plan)
        finally:
            self._users.forget(user_id)

    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, keep_device_id: str
    ) -> Mapping[str, int] | None:
        """See `AccountStore.set_password`."""

        def plan(account: Account) -> AccountChange[Mapping[str, int] | None]:
            if account.password_hash != old_hash:
                return AccountChange(None)
            others = [each.device_id for each in account.signed_in if each.device_id != keep_device_id]
            out = self._sign_out(account, others)
            return AccountChange(out.revoked, [(_PASSWORD, (new_hash, user_id)), *out.writes], out.before, out.after)

        return await self._accounts.change(user_id, plan)

    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """See `AccountStore.rehash_password`."""

        def plan(account: Account) -> AccountChange[None]:
            is_old = account.password_hash == old_hash
            return AccountChange(None, [(_PASSWORD, (new_hash, user_id))] if is_old else ())

        await self._accounts.change(user_id, plan)

    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        """See `AccountStore.sign_in_device`."""
        # Made once, so that the plan recognises the device when it is called again.
        new_id = new_device_id()

        def plan(account: Account) -> AccountChange[Device]:
            if account.user is None:
                raise not_found("user", "user_id")
            known = account.devices.get(device.device_id) or account.devices.get(new_id)
            if (known is None or not known.signed_in) and len(account.signed_in) >= most:
                raise TooManyDevices(device.user_id)
            if known is None:
                kept = replace(device, device_id=new_id, epoch=1)
            else:
                before = known.device
                kept = replace(before, last_active_at_ms=device.last_active_at_ms, epoch=before.epoch + 1)
            return AccountChange(
                kept,
                writes=[_sign_in(kept, refresh_hash), *_forget_oldest(account, kept)],
                before=_known(kept, refresh_hash),
                after=_forget_token(known.refresh_hash if known else None, refresh_hash),
            )

        return await self._accounts.change(device.user_id, plan)

    async def rotate_refresh_token(self, spent_hash: bytes, new_hash: bytes, now_ms: int) -> Device | None:
        """See `AccountStore.rotate_refresh_token`."""
        rows = await self._cassandra.execute(_TOKEN, (spent_hash,))
        if not rows:
            return None
        user_id, device_id, family = rows[0]

        def plan(account: Account) -> AccountChange[Device | RefreshTokenReused | None]:
            stored = account.devices.get(device_id)
            if stored is None or stored.family != family:
                return AccountChange(None)
            if stored.refresh_hash == new_hash:
                # The client asks again, or an earlier attempt of this change has been done.
                return AccountChange(stored.device)
            if stored.refresh_hash != spent_hash:
                out = self._sign_out(account, [device_id])
                reused = RefreshTokenReused(device_id, stored.device.epoch)
                return AccountChange(reused, out.writes, out.before, out.after)
            epoch = stored.device.epoch + 1
            return AccountChange(
                replace(stored.device, last_active_at_ms=now_ms, epoch=epoch),
                writes=[(_ROTATE, (new_hash, now_ms, epoch, user_id, device_id))],
                before=[(_KEEP_TOKEN, (new_hash, user_id, device_id, family))],
                after=[(_SPEND_TOKEN, (spent_hash, user_id, device_id, family, _SPENT_KEPT_S))],
            )

        outcome = await self._accounts.change(user_id, plan)
        if isinstance(outcome, RefreshTokenReused):
            raise outcome
        return outcome

    async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> int | None:
        """See `AccountStore.replace_refresh_token`."""
        user_id = await self._device_users.user_of(device_id)
        if user_id is None:
            return None

        def plan(account: Account) -> AccountChange[int | None]:
            stored = account.devices.get(device_id)
            if stored is None or not stored.signed_in:
                return AccountChange(None)
            epoch = stored.device.epoch + 1
            return AccountChange(
                epoch,
                writes=[(_REPLACE, (new_hash, new_hash, epoch, user_id, device_id))],
                before=_known(stored.device, new_hash),
                after=_forget_token(stored.refresh_hash, new_hash),
            )

        return await self._accounts.change(user_id, plan)

    async def devices(self, user_id: str) -> Sequence[Device]:
        """See `AccountStore.devices`."""
        return (await self._accounts.load(user_id)).signed_in

    async def revoke_device(self, user_id: str, device_id: str) -> int | None:
        """See `AccountStore.revoke_device`."""

        def plan(account: Account) -> AccountChange[int | None]:
            stored = account.devices.get(device_id)
            if stored is None or not stored.signed_in:
                return AccountChange(None)
            out = self._sign_out(account, [device_id])
            return AccountChange(stored.device.epoch, out.writes, out.before, out.after)

        return await self._accounts.change(user_id, plan)

    async def revoked(self, within: float) -> Mapping[str, int]:
        """See `AccountStore.revoked`."""
        return await self._sign_outs.within(within)

    async def forget_revoked(self, revoked: Mapping[str, int]) -> None:
        """See `AccountStore.forget_revoked`. They are left out without that, after `revocations_kept_s`."""

    async def _claim(self, user: User, password_hash: str) -> None:
        """Take a username, with everything that makes the account."""
        unfinished = user.display_name, user.about, password_hash, user.created_at_ms
        try:
            ((applied, *_),) = await self._cassandra.execute(_CLAIM, (user.username, user.user_id, unfinished))
        except Refusal:
            rows = await self._cassandra.execute(_CLAIMED, (user.username,))
            if not rows:
                raise
            applied = rows[0][0] == user.user_id
        if not applied:
            raise UsernameTaken(user.username)

    def _make(self, user: User, password_hash: str) -> AccountChange[None]:
        values = user.username, user.display_name, user.about, user.created_at_ms, password_hash, 1, user.user_id
        return AccountChange(None, writes=[(_MAKE, values)], before=self._names.enter(user, 1))

    async def _finish(self, user: User, password_hash: str) -> None:
        """Make the account of a username that has been taken, unless it exists already."""
        await self._accounts.change(
            user.user_id, lambda account: AccountChange(None) if account.user else self._make(user, password_hash)
        )
        await self._finished(user)

    async def _finished(self, user: User) -> None:
        # If this cannot be noted, the next sign-in finds that nothing is left to do.
        with contextlib.suppress(Refusal):
            await self._cassandra.execute(_FINISHED, (user.username, user.user_id))

    def _sign_out(self, account: Account, device_ids: Iterable[str]) -> _SignOut:
        out = _SignOut()
        for device_id in device_ids:
            stored = account.devices[device_id]
            out.writes.append((_SIGN_OUT, (stored.device.user_id, device_id)))
            epoch = out.revoked[device_id] = stored.device.epoch
            # First, so that no device is signed out whose access tokens still work. A device that is not signed out in
            # the end gets a new epoch with its next refresh token.
            out.before.append(self._sign_outs.keep(device_id, epoch))
            out.after.extend(_forget_token(stored.refresh_hash))
        return out

    async def _read_user(self, user_id: str) -> User | None:
        rows = await self._cassandra.execute(_USER, (user_id,))
        # A partition may hold a push token and no account.
        return User(*rows[0]) if rows and rows[0][1] is not None else None


def _sign_in(device: Device, refresh_hash: bytes) -> Write:
    return _SIGN_IN, (
        device.device_name,
        device.platform,
        device.created_at_ms,
        device.last_active_at_ms,
        device.epoch,
        refresh_hash,
        refresh_hash,
        device.user_id,
        device.device_id,
    )


def _known(device: Device, first_hash: bytes) -> Sequence[Write]:
    """Return the writes that make a device and the first refresh token of a family known."""
    return [
        (_KEEP_TOKEN, (first_hash, device.user_id, device.device_id, first_hash)),
        DeviceUsers.keep(device.device_id, device.user_id),
    ]


def _forget_token(token_hash: bytes | None, instead: bytes = b"") -> Sequence[Write]:
    return [(_FORGET_TOKEN, (token_hash,))] if token_hash not in (None, instead) else []


def _forget_oldest(account: Account, kept: Device) -> Sequence[Write]:
    """Return the writes that forget the oldest signed-out devices, when there are too many."""
    out = [
        each.device
        for each in account.devices.values()
        if not each.signed_in and each.device.device_id != kept.device_id
    ]
    oldest = sorted(out, key=lambda each: each.last_active_at_ms)[: max(0, len(out) - SIGNED_OUT_DEVICES)]
    return [(_FORGET_DEVICE, (each.user_id, each.device_id)) for each in oldest]
