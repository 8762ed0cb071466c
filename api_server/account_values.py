"""What calls about accounts take and give, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidings.core.values import Platform, Server, User


@dataclass(frozen=True, slots=True)
class Tokens:
    """The proof of a device's sign-in."""

    access_token: str
    refresh_token: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A device that has just been signed in."""

    user: User
    device_id: str
    tokens: Tokens
    servers: Sequence[Server]


@dataclass(frozen=True, slots=True)
class UsersPage:
    """A page of users, and the token of the next page; empty after the last."""

    users: Sequence[User]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class DeviceToSignIn:
    """A device's description of itself when it signs in; `device_id` is the id that it had before, if any."""

    device_name: str
    platform: Platform
    device_id: str = ""
