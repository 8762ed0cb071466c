"""The limits of requests, and the checks whose refusals name the field, the limit and the value."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.core.errors import Code, Refusal, invalid
from tidings.core.reasons import Reason

TEXT_CHARACTERS = 100_000
"""Code points in a message's text."""
CLIENT_MESSAGE_ID_CHARACTERS = 128
GROUP_MEMBERS = 100
GROUPS_OWNED = 1_000
"""By one user."""
CHANNELS = 10_000
"""That one user is in, groups and direct ones."""
CHANNELS_BY_OTHERS = 8_000
"""Beyond that nobody else brings a user into one more: the rest is for those that the user opens or makes."""
USER_DEVICES = 10
SIGNED_OUT_DEVICES = 100
"""How many of a user's signed-out devices stay known, so that they can come back under their ids. A client that signs
in without the id of its device again and again would make more and more."""
CONTACTS = 1_000
"""Of one user. A `Track` tells the presence of all of them, and one answer holds them all."""
BLOCKED_USERS = 1_000
TITLE_CHARACTERS = 128
NAME_CHARACTERS = 64
ABOUT_CHARACTERS = 256
USERNAME_CHARACTERS = (3, 32)
PASSWORD_CHARACTERS = (8, 128)
ATTEMPT_ID_CHARACTERS = (22, 128)
"""At least sixteen random bytes in base64."""
PUSH_TOKEN_CHARACTERS = 4096
PUSH_PREVIEW_CHARACTERS = 256
"""Of a message's text in a push."""
PUSH_REQUESTS = 1_000
"""In one call to the notifier."""
HISTORY_PAGE = 200
HISTORY_PAGE_DEFAULT = 50
HISTORY_PAGE_BYTES = 3 << 20
"""Of a page of history. Encoded, it stays below the 4 MiB that a gRPC client accepts by default."""
CHANNELS_PAGE = 200
CHANNELS_PAGE_DEFAULT = 100
USERS_PAGE = 100
USERS_PAGE_DEFAULT = 20
PRESENCE_USERS = 100
UNREAD_COUNT = 999
REPEATED_ITEMS = 1_000
"""In any repeated field of a call. What a field means may allow fewer."""
FRAME_BYTES = 1 << 20
"""The largest frame that a client may send."""
FRAME_COMMANDS = 256
"""In one frame."""
BYTES_A_COMMAND = 16 << 10
"""A frame costs as many commands as it has of these, besides those that it holds."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of one session in a chat server."""

    waiting_events: int = 2_000
    waiting_bytes: int = 1 << 20
    commands_in_flight: int = 256


def check_text(field: str, value: str, most: int, least: int = 1) -> None:
    """Refuse a text that is too short or too long, in code points.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field, the limit and the value's length.
    """
    length = len(value)
    if length > most:
        raise invalid(field, f"has {length:,} characters, at most {most:,} are allowed", limit=most, actual=length)
    if length < least:
        description = "must not be empty" if length == 0 else f"has {length} characters, at least {least} are needed"
        raise invalid(field, description, limit=least, actual=length)


def check_group_size(members: int) -> None:
    """Refuse a group that is too large.

    Raises:
        Refusal: FAILED_PRECONDITION naming the field, the limit and the value.
    """
    if members > GROUP_MEMBERS:
        raise Refusal(
            Code.FAILED_PRECONDITION,
            f"a group has at most {GROUP_MEMBERS} members; this would make {members}",
            reason=Reason.GROUP_FULL,
            metadata={"field": "member_ids", "limit": str(GROUP_MEMBERS), "actual": str(members)},
        )


def page_size(asked: int, default: int, most: int) -> int:
    """Return the size of a page: the size that was asked for, or the default for 0, and at most `most`."""
    return min(asked, most) if asked else default
