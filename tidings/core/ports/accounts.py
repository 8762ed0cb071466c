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
    """The username belongs to another user."""


class TooManyDevices(Exception):  # noqa: N818
    """The user has as many devices as allowed."""


class RefreshTokenReused(Exception):  # noqa: N818
    """A refresh token was spent a second time, so its device has been signed out.

    Args:
        device_id: The device.
        epoch: The epoch up to which its access tokens must not work.
    """

    def __init__(self, device_id: str, epoch: int) -> None:
        super().__init__(device_id, epoch)
        self.revoked = {device_id: epoch}


class AccountStore(abc.ABC):
    """Users, their devices and their refresh tokens. Of a token only the hash is passed and kept."""

    @abc.abstractmethod
    async def create_user(self, user: User, password_hash: str, device: Device, refresh_hash: bytes) -> None:
        """Add a user with a first device.

        Raises:
            UsernameTaken: The username (folded to lower case) exists.
        """

    @abc.abstractmethod
    async def credentials(self, username: str) -> Credentials | None:
        """Return the user with a username (in lower case) and the password hash; None when there is no such user."""

    @abc.abstractmethod
    async def password_hash(self, user_id: str) -> str | None:
        """Return the hash that a user's password must match; None when there is no such user."""

    @abc.abstractmethod
    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return those of the users that exist, by id."""

    @abc.abstractmethod
    async def search(self, prefix: str, after: str, limit: int, asked_by: str) -> Sequence[User]:
        """Find users whose username or display name begins with a prefix, whatever their case and accents.

        Args:
            prefix: The `search_key` of the prefix; not empty.
            after: A username; only users with a greater one are returned.
            limit: The most users to return.
            asked_by: The user who searches; users who block this one are left out.

        Returns:
            The users, by username.
        """

    @abc.abstractmethod
    async def update_profile(self, user_id: str, display_name: str | None, about: str | None) -> User:
        """Change the display name and the text about a user, where not None, and return the changed user.

        Raises:
            Refusal: NOT_FOUND when there is no such user.
        """

    @abc.abstractmethod
    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, keep_device_id: str
    ) -> Mapping[str, int] | None:
        """Change the password and sign out every device but one.

        Returns:
            The devices signed out, each with the epoch up to which its access tokens must not work. None, without a
            change, when `old_hash` is no longer the user's.
        """

    @abc.abstractmethod
    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Replace the hash of a password by another of the same password, unless the password has changed since."""

    @abc.abstractmethod
    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        """Sign a device in.

        Args:
            device: The device. One of the user's devices with the same id, signed in or out, is used again. Any other
                id, or an empty one, makes a new device with a new id.
            refresh_hash: The only refresh token of the device from now on.
            most: How many devices of a user may be signed in.

        Returns:
            The device as it is kept: a known device keeps its name, platform and creation time.

        Raises:
            TooManyDevices: The device is not signed in, and `most` other devices of the user are.
        """

    @abc.abstractmethod
    async def rotate_refresh_token(self, spent_hash: bytes, new_hash: bytes, now_ms: int) -> Device | None:
        """Spend a refresh token and replace it by a new one.

        The same call may be repeated, with the same result, as long as the new token is unspent.

        Returns:
            The device of the token; None when the token is unknown or its device is signed out.

        Raises:
            RefreshTokenReused: The token was spent before, for another new one, at most 30 days ago. Its device is
                signed out now.
        """

    @abc.abstractmethod
    async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> int | None:
        """Make a token the only refresh token of a device.

        Returns:
            The epoch of the device; None, without a change, if it is signed out.
        """

    @abc.abstractmethod
    async def devices(self, user_id: str) -> Sequence[Device]:
        """Return the devices of a user that are signed in, oldest first."""

    @abc.abstractmethod
    async def revoke_device(self, user_id: str, device_id: str) -> int | None:
        """Sign a device out, with its refresh and push tokens.

        Returns:
            The epoch up to which its access tokens must not work; None when the user has no such device signed in.
        """

    @abc.abstractmethod
    async def revoked(self, within: float) -> Mapping[str, int]:
        """Return the devices that were signed out lately, with the epoch up to which access tokens must not work.

        Args:
            within: How many seconds ago, by the storage's own time; those from before may be among them.
        """

    @abc.abstractmethod
    async def forget_revoked(self, revoked: Mapping[str, int]) -> None:
        """Leave sign-outs out of `revoked` from now on, up to these epochs: their access tokens have run out."""
