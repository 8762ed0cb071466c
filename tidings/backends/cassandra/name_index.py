"""An index of names in Cassandra, which finds users by the beginning of a name.

A user has a row for each beginning, up to 12 characters, of the username and of the display name's search key. All
users that share a beginning are in one partition, by username, so a page is one stretch of it, whatever the length of
the prefix. Very many names share a beginning of one or two characters, so these partitions are split into shards by
the beginning of the username.

The rows of a new name are written before the account is changed, and those of the old name are deleted after it. What
the account says decides. The time of writing grows with the number of the change, so a write that comes late changes
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from operator import itemgetter

from tidings.backends.cassandra.client import CassandraClient, Row, Statement, Write
from tidings.backends.cassandra.name_rows import ENTER, entered, prefixes, shard_of, shards_of, written_at
from tidings.core.limits import USERNAME_CHARACTERS
from tidings.core.search_keys import PREFIX_CHARACTERS, search_key
from tidings.core.values import User

_ENTER = Statement(ENTER)
_LEAVE = Statement("DELETE FROM name_prefixes USING TIMESTAMP ? WHERE prefix = ? AND shard = ? AND username = ?")
_PAGE = Statement(
    "SELECT shard, username, user_id, display_name FROM name_prefixes"
    " WHERE prefix = ? AND shard IN ? AND username > ? PER PARTITION LIMIT ?"
)


# How many partitions one request asks for: far fewer requests, and still a small one for the node that takes it.
_TOGETHER = 12


def begins(user: User, prefix: str) -> bool:
    """Tell whether a user's username or display name begins with a prefix, which is a search key."""
    return user.username.startswith(prefix) or search_key(user.display_name).startswith(prefix)


class NameIndex:
    """The index of the beginnings of names.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra

    @staticmethod
    def enter(user: User, number: int) -> Sequence[Write]:
        """Return the writes that enter a user's names as of change `number` of their profile."""
        return [(_ENTER, values) for values in entered(user, number)]

    @staticmethod
    def leave(user: User, changed: User, number: int) -> Sequence[Write]:
        """Return the writes that take out the names which change `number` of a profile took from a user.

        Args:
            user: The user before the change.
            changed: The user after it.
            number: The number of the change.
        """
        return [
            (_LEAVE, (written_at(number), prefix, shard_of(prefix, user.username), user.username))
            for prefix in sorted(prefixes(user) - prefixes(changed))
        ]

    async def pages(self, prefix: str, after: str, size: int) -> AsyncGenerator[Sequence[str], None]:
        """Yield the ids of users who may have a name that begins with `prefix`, by username, some at a time.

        Args:
            prefix: The beginning, a search key.
            after: A username; only users with a greater one are returned.
            size: About how many users are wanted.
        """
        # No username is longer than this, so the rest of `after` decides nothing.
        after = after[: USERNAME_CHARACTERS[1] + 1]
        key = prefix[:PREFIX_CHARACTERS]
        shards = [each for each in shards_of(key) if each >= after[: len(each)]]
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
        """Read the next rows of each of some shards."""
        return await self._cassandra.execute(_PAGE, (prefix, shards, after, size))
