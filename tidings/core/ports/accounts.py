"""Accounts: users, their devices, their refresh tokens."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.values import Device, User


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the hash that a password must match."""

    user: User
    password_hash: str


class UsernameTaken(Exception):  # noqa: N818 - an outcome, not a malfunction
    """Somebody has that username."""


class TooManyDevices(Exception):  # noqa: N818
    """The user has as many devices as allowed."""


class RefreshTokenReused(Exception):  # noqa: N818
    """A refresh token came that was spent before; the device's sign-in has ended."""


class AccountStore(abc.ABC):
    """Users, their devices, their refresh tokens. Tokens come and are kept as hashes only."""

    @abc.abstractmethod
    async def create_user(self, user: User, password_hash: str, device: Device, refresh_hash: bytes) -> None:
        """Keeps a new user with a first device.

        Raises:
            UsernameTaken: The username (folded to lower case) exists.
        """

    @abc.abstractmethod
    async def credentials(self, username: str) -> Credentials | None:
        """What signing in as `username` (lower case) needs."""

    @abc.abstractmethod
    async def password_hash(self, user_id: str) -> str | None:
        """The hash that a user's password must match."""

    @abc.abstractmethod
    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Those of the users that exist, by id."""

    @abc.abstractmethod
    async def search(self, prefix: str, after: str, limit: int, asked_by: str) -> Sequence[User]:
        """Users whose username or display name begins with `prefix` (lower case, both compared ignoring case).

        Ordered by username, only those with a username greater than `after`, without people who blocked `asked_by`.
        """

    @abc.abstractmethod
    async def update_profile(self, user_id: str, display_name: str | None, about: str | None) -> User:
        """Changes what is not None and returns the user as it is then.

        Raises:
            Refusal: NOT_FOUND when there is no such user.
        """

    @abc.abstractmethod
    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, keep_device_id: str, now_ms: int
    ) -> Sequence[str] | None:
        """Changes the password and revokes every device but one.

        Returns:
            The ids of the devices revoked, or None when `old_hash` is no longer the user's: nothing has changed then.
        """

    @abc.abstractmethod
    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Keeps another hash of the same password, unless the password has changed meanwhile; revokes nothing."""

    @abc.abstractmethod
    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        """Signs a device in: the one of the user's that has this id (also one that was signed out comes back).

        Any other id, the empty one too, makes a new device with an id of its own. `refresh_hash` is then the device's
        only refresh token.

        Returns:
            The device as kept: one that is known keeps its name, platform and creation time.

        Raises:
            TooManyDevices: It is not signed in, and `most` of the user's are.
        """

    @abc.abstractmethod
    async def rotate_refresh_token(self, spent_hash: bytes, new_hash: bytes, now_ms: int) -> Device | None:
        """Spends a refresh token and keeps the new one.

        Spending it again for the same new one, as long as that is unspent, is the same again.

        Returns:
            The device it signs in, or None when the token is unknown or its device revoked.

        Raises:
            RefreshTokenReused: It was spent before, for another one, within the last 30 days at least. Its device is
                revoked now; `args[0]` is the device's id.
        """

    @abc.abstractmethod
    async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> bool:
        """Makes `new_hash` the device's only refresh token; False, and nothing done, when it is not signed in."""

    @abc.abstractmethod
    async def devices(self, user_id: str) -> Sequence[Device]:
        """The user's devices that are signed in, oldest first."""

    @abc.abstractmethod
    async def revoke_device(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """Signs a device out and forgets its refresh and push tokens; False when the user has no such device."""

    @abc.abstractmethod
    async def revoked_since(self, ms: int) -> Mapping[str, int]:
        """Devices revoked after a moment, with the moment: their access tokens from before it must not work."""
