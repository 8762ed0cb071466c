"""Finding users by the beginning of a name, in Cassandra.

A user has a row for each beginning, up to 12 characters, of username and display name in small letters. All who share a
beginning are in one partition, by username: a page is one stretch of it, whatever the length of the prefix. So many
begin with the same one or two characters that these partitions are split further, by the beginning of the username.

The rows are written before a name is changed, and taken away after; what the account says decides. Their time of
writing is the number of the change: whoever is late changes nothing.
"""

from __future__ import annotations

import string
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from operator import itemgetter

from tidings.backends.cassandra.client import CassandraClient, Row, Statement, Write
from tidings.core.limits import USERNAME_CHARACTERS
from tidings.core.values import User

_ENTER = Statement(
    "INSERT INTO name_prefixes (prefix, shard, username, user_id, display_name) VALUES (?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?"
)
_LEAVE = Statement("DELETE FROM name_prefixes USING TIMESTAMP ? WHERE prefix = ? AND shard = ? AND username = ?")
_PAGE = Statement(
    "SELECT shard, username, user_id, display_name FROM name_prefixes"
    " WHERE prefix = ? AND shard IN ? AND username > ? PER PARTITION LIMIT ?"
)

_CHARACTERS = 12
_SPLIT_UP_TO = 2

# One request may ask for this many partitions: far fewer requests, and still a small one for the node that takes it.
_TOGETHER = 12

# What usernames are made of, in order.
_FIRST = string.digits + string.ascii_lowercase
_LATER = "-." + string.digits + "_" + string.ascii_lowercase


def begins(user: User, prefix: str) -> bool:
    """Whether a user's username or display name begins with a prefix in small letters."""
    return user.username.startswith(prefix) or user.display_name.lower().startswith(prefix)


class NameIndex:
    """The beginnings of names."""

    def __init__(self, cassandra: CassandraClient) -> None:
        """Reads `cassandra`."""
        self._cassandra = cassandra

    @staticmethod
    def enter(user: User, number: int) -> Sequence[Write]:
        """What makes a user found by the names that they have from change `number` of their profile on."""
        name = user.display_name.lower()
        return [
            (_ENTER, (prefix, _shard(prefix, user.username), user.username, user.user_id, name, number))
            for prefix in sorted(_prefixes(user))
        ]

    @staticmethod
    def leave(user: User, changed: User, number: int) -> Sequence[Write]:
        """What makes a user no longer found by a name that change `number` took from them."""
        return [
            (_LEAVE, (number, prefix, _shard(prefix, user.username), user.username))
            for prefix in sorted(_prefixes(user) - _prefixes(changed))
        ]

    async def pages(self, prefix: str, after: str, size: int) -> AsyncGenerator[Sequence[str], None]:
        """The ids of users who may have a name that begins with `prefix`, by username, some at a time.

        Args:
            prefix: In small letters.
            after: Only users whose username is greater.
            size: About how many are wanted.
        """
        # A username is shorter: what is cut off decides nothing.
        after = after[: USERNAME_CHARACTERS[1] + 1]
        key = prefix[:_CHARACTERS]
        shards = [each for each in _shards(key) if each >= after[: len(each)]]
        for at in range(0, len(shards), _TOGETHER):
            group = shards[at : at + _TOGETHER]
            for shard, rows in groupby(sorted(await self._rows(key, group, after, size)), key=itemgetter(0)):
                page = list(rows)
                while page:
                    yield [
                        user_id
                        for _, username, user_id, name in page
                        if username.startswith(prefix) or name.startswith(prefix)
                    ]
                    page = await self._rows(key, [shard], page[-1][1], size) if len(page) == size else []

    async def _rows(self, prefix: str, shards: Sequence[str], after: str, size: int) -> list[Row]:
        """The next rows of each of some shards."""
        return await self._cassandra.execute(_PAGE, (prefix, shards, after, size))


def _prefixes(user: User) -> set[str]:
    names = user.username, user.display_name.lower()
    return {name[:length] for name in names for length in range(1, min(len(name), _CHARACTERS) + 1)}


def _shard(prefix: str, username: str) -> str:
    if len(prefix) > _SPLIT_UP_TO:
        return ""
    # Usernames that begin with the prefix's own letter are by far the most.
    return username[:2] if username[0] == prefix[0] else username[0]


def _shards(prefix: str) -> Sequence[str]:
    """All shards of a prefix, in the order of the usernames in them."""
    if len(prefix) > _SPLIT_UP_TO:
        return [""]
    first = prefix[:1]
    return [shard for each in _FIRST for shard in ([each + later for later in _LATER] if each == first else [each])]
