"""Random ids for users, devices, groups, sessions and servers, and the ids of direct channels."""

from __future__ import annotations

import base64
import hashlib
import secrets

# Ten bytes are exactly sixteen base-32 characters. Among a billion ids the chance of one repeat is below 1 in 10^6, and
# the stores refuse a repeat anyway, so no server has to be asked for an id.
_RANDOM_BYTES = 10


def _text(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


def new_user_id() -> str:
    """Make the id of a new user."""
    return "u" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_device_id() -> str:
    """Make the id of a new device."""
    return "v" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_group_id() -> str:
    """Make the id of a new group."""
    return "g" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_session_id() -> str:
    """Make the id of a new session."""
    return "s" + _text(secrets.token_bytes(_RANDOM_BYTES))


def new_server_id() -> str:
    """Make the id of a server that starts."""
    return "n" + _text(secrets.token_bytes(_RANDOM_BYTES))


def direct_channel_id(one: str, other: str) -> str:
    """Return the id of the direct channel of two users.

    The id follows from the pair. So two servers on which the channel is opened from both sides at the same time cannot
    make two channels.
    """
    first, second = sorted((one, other))
    digest = hashlib.blake2b(f"{first} {second}".encode(), digest_size=15, person=b"tidings.direct").digest()
    return "d" + _text(digest)
