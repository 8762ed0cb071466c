"""Contacts and blocks in Cassandra: each relation of two users has a row in the partition of both."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Collection, Iterator, Mapping, Sequence

from tidings.backends.cassandra.account_rows import is_id
from tidings.backends.cassandra.client import CassandraClient, Statement


class Relation(enum.IntEnum):
    """The relation of a partition's user to another user, whose partition has the reverse."""

    HAS_CONTACT = 1
    CONTACT_OF = 2
    BLOCKS = 3
    BLOCKED_BY = 4


REVERSE = {
    Relation.HAS_CONTACT: Relation.CONTACT_OF,
    Relation.CONTACT_OF: Relation.HAS_CONTACT,
    Relation.BLOCKS: Relation.BLOCKED_BY,
    Relation.BLOCKED_BY: Relation.BLOCKS,
}

_ONE = Statement("SELECT since_ms, writetime(since_ms) FROM relations WHERE user_id = ? AND kind = ? AND other_id = ?")
_ALL = Statement("SELECT other_id, since_ms FROM relations WHERE user_id = ? AND kind = ?")
_COUNT = Statement("SELECT count(*) FROM relations WHERE user_id = ? AND kind = ? AND since_ms > 0 ALLOW FILTERING")
_SOME = Statement("SELECT other_id, since_ms FROM relations WHERE user_id = ? AND kind IN ? LIMIT ?")
_AMONG = Statement("SELECT other_id, since_ms FROM relations WHERE user_id = ? AND kind IN ? AND other_id IN ?")
_BEGIN = Statement(
    "UPDATE relations USING TIMESTAMP ? SET since_ms = ? WHERE user_id = ? AND kind = ? AND other_id = ?"
)
# A plain deletion would leave no time of writing to go beyond, so a server whose clock is behind could not begin the
# relation again. After a day all clocks are further.
_END = Statement(
    "UPDATE relations USING TTL 86400 AND TIMESTAMP ? SET since_ms = 0 WHERE user_id = ? AND kind = ? AND other_id = ?"
)

# How many users one request asks about.
_TOGETHER = 500


class ContactRows:
    """Reads and writes the contacts and blocks of users.

    Both rows of a relation are written in one logged batch, with one time of writing. So they always agree in the end,
    whatever else is written at the same time.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra

    async def begin(self, user_id: str, relation: Relation, other_id: str, now_ms: int) -> int:
        """Begin a relation of a user to another one, unless it is there; return since when it is, in ms since 1970."""
        since_ms, written_at = await self._one(user_id, relation, other_id)
        if since_ms:
            return since_ms
        at = max(now_ms * 1000, written_at + 1)
        await self._cassandra.batch(
            [
                (_BEGIN, (at, now_ms, user_id, relation, other_id)),
                (_BEGIN, (at, now_ms, other_id, REVERSE[relation], user_id)),
            ],
            logged=True,
        )
        return now_ms

    async def end(self, user_id: str, relation: Relation, other_id: str, now_ms: int) -> None:
        """End a relation of a user to another one, if it is there."""
        if not is_id(other_id):
            return
        since_ms, written_at = await self._one(user_id, relation, other_id)
        if not since_ms:
            return
        at = max(now_ms * 1000, written_at + 1)
        await self._cassandra.batch(
            [(_END, (at, user_id, relation, other_id)), (_END, (at, other_id, REVERSE[relation], user_id))],
            logged=True,
        )

    async def all(self, user_id: str, relation: Relation) -> Mapping[str, int]:
        """Return the users to whom a user has a relation, with since when, in ms since 1970."""
        rows = await self._cassandra.execute(_ALL, (user_id, relation))
        return {other_id: since_ms for other_id, since_ms in rows if since_ms}

    async def count(self, user_id: str, relation: Relation, besides: str) -> int:
        """Count the users to whom a user has a relation, besides one."""
        ((number,),), (since_ms, _) = await asyncio.gather(
            self._cassandra.execute(_COUNT, (user_id, relation)), self._one(user_id, relation, besides)
        )
        return int(number) - bool(since_ms)

    async def blocks(self, user_id: str, most: int) -> frozenset[str] | None:
        """Return the users whom a user blocks or who block the user; None when there are more than `most`."""
        kinds = [Relation.BLOCKS, Relation.BLOCKED_BY]
        rows = await self._cassandra.execute(_SOME, (user_id, kinds, most + 1))
        return frozenset(other_id for other_id, since_ms in rows if since_ms) if len(rows) <= most else None

    async def among(self, user_id: str, relations: Sequence[Relation], others: Collection[str]) -> Collection[str]:
        """Return those of `others` to whom a user has any of some relations."""
        rows = await self._cassandra.execute_many(_AMONG, [(user_id, relations, part) for part in _parts(others)])
        return {other_id for other_id, since_ms in rows if since_ms}

    async def blocking(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """Return those of `others` who block a user."""
        return await self.among(user_id, [Relation.BLOCKED_BY], others)

    async def _one(self, user_id: str, relation: Relation, other_id: str) -> tuple[int, int]:
        rows = await self._cassandra.execute(_ONE, (user_id, relation, other_id))
        since_ms, written_at = rows[0] if rows else (0, 0)
        return since_ms or 0, written_at or 0


def _parts(others: Collection[str]) -> Iterator[Sequence[str]]:
    asked = [each for each in dict.fromkeys(others) if is_id(each)]
    return (asked[at : at + _TOGETHER] for at in range(0, len(asked), _TOGETHER))
