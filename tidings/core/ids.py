"""Names for things: users, devices, channels, sessions."""

from __future__ import annotations

import base64
import hashlib
import secrets

# Ten bytes are exactly sixteen base-32 characters. Among a billion ids the chance of one repeat is below 1 in 10^6, and
# the stores refuse a repeat anyway; no server has to be asked.
_RANDOM_BYTES = 10


def _text(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


def new_user_id() -> str:
    """A new user id."""
    return "u" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_device_id() -> str:
    """A new device id."""
    return "v" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_group_id() -> str:
    """A new id for a group's channel."""
    return "g" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_session_id() -> str:
    """A new session id."""
    return "s" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_server_id() -> str:
    """A new id for a server, for as long as it runs."""
    return "n" + _text(secrets.token_bytes(_RANDOM_BYTES))


def direct_channel_id(one: str, other: str) -> str:
    """The id of the direct channel of two users.

    It follows from the pair, so that opening it from both sides, at the same time, on different servers, cannot make
    two.
    """
    first, second = sorted((one, other))
    digest = hashlib.blake2b(f"{first} {second}".encode(), digest_size=15, person=b"tidings.direct").digest()
    return "d" + _text(digest)
