"""The rows of the index of names: which a user has, and in which partitions those are that share a beginning."""

from __future__ import annotations

import string
from collections.abc import Sequence

from tidings.core.search_keys import key_prefixes, search_key
from tidings.core.values import User

ENTER = (
    "INSERT INTO name_prefixes (prefix, shard, username, user_id, display_name) VALUES (?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?"
)

_SPLIT_UP_TO = 2

# The characters of usernames, in order.
_FIRST = string.digits + string.ascii_lowercase
_LATER = "-." + string.digits + "_" + string.ascii_lowercase


def entered(user: User, number: int) -> Sequence[tuple[object, ...]]:
    """Return the values of `ENTER` for a user's names as of change `number` of their profile."""
    key = search_key(user.display_name)
    return [
        (prefix, shard_of(prefix, user.username), user.username, user.user_id, key, written_at(number))
        for prefix in sorted(prefixes(user))
    ]


def prefixes(user: User) -> set[str]:
    """Return the beginnings by which a user is found."""
    return key_prefixes(user.username, search_key(user.display_name))


def written_at(number: int) -> int:
    """Return the time of writing of change `number`: beyond that of its rows from before there were search keys."""
    return 2 * number


def shard_of(prefix: str, username: str) -> str:
    """Return the shard of a prefix that has a username."""
    if len(prefix) > _SPLIT_UP_TO:
        return ""
    # Most usernames in the partition begin with the first letter of the prefix, so these are split by two letters.
    return username[:2] if username[0] == prefix[0] else username[0]


def shards_of(prefix: str) -> Sequence[str]:
    """Return all shards of a prefix, in the order of the usernames in them."""
    if len(prefix) > _SPLIT_UP_TO:
        return [""]
    first = prefix[:1]
    return [shard for each in _FIRST for shard in ([each + later for later in _LATER] if each == first else [each])]
