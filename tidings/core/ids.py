"""Random ids for users, devices, groups, sessions and servers, the ids of direct channels, and the syntax of ids."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from tidings.core.errors import invalid
from tidings.core.limits import check_text

# Ten bytes are exactly sixteen base-32 characters. Among a billion ids the chance of one repeat is below 1 in 10^6, and
# the stores refuse a repeat anyway, so no server has to be asked for an id.
_RANDOM_BYTES = 10

ID_CHARACTERS = 64
# Wider than the ids that are made here, so that they may be made in another way one day.
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_CHARACTERS}}}")
_ID_RULE = f"must be 1 to {ID_CHARACTERS} of A-Z, a-z, 0-9, underscore and hyphen"


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


def check_id(field: str, value: str) -> None:
    """Refuse what cannot be the id of a user, a device, a channel or a server.

    An id that is well-formed and names nothing passes: that it does not exist is for those to say who look it up.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field.
    """
    if _ID.fullmatch(value) is None:
        raise invalid(field, _ID_RULE, limit=ID_CHARACTERS, actual=len(value))


def check_client_id(field: str, value: str, most: int, least: int = 1) -> None:
    """Refuse an id that a client may not make for something of its own.

    Clients choose it, so it may have any character that stands for itself wherever it is shown and stored: letters
    of all scripts and punctuation, but no controls, no line breaks and nothing invisible.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field.
    """
    if not value.isprintable():
        raise invalid(field, "must not have control characters, line breaks or invisible characters")
    check_text(field, value, most, least)
