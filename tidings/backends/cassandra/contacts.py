"""Contacts and blocks in Cassandra."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from tidings.backends.cache import ReadThroughCache
from tidings.backends.cassandra.account_rows import is_id
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.contact_rows import ContactRows, Relation
from tidings.backends.cassandra.memberships import channels_with
from tidings.core.clock import Clock
from tidings.core.ids import direct_channel_id
from tidings.core.ports import AccountStore, ContactStore
from tidings.core.values import Contact, User

_STAYS_IN = Statement("SELECT until_seq FROM memberships_of_user WHERE user_id = ? AND channel_id IN ?")
_STAYS_OF = Statement("SELECT user_id, until_seq FROM memberships WHERE channel_id = ? AND user_id IN ?")

# How many blocks of a user are read and cached. For a user with more of them, only those asked about are read.
_BLOCKS_READ = 1_000


class CassandraContactStore(ContactStore):
    """The contacts in Cassandra.

    The answer of `blocked_either_way` may be as old as `blocks_age_s` when another process has changed a block; changes
    by this process show at once. A server that asks once, when it is told of a change (the sequencer of a channel, a
    presence server), needs 0. One that asks anew for each decision (about pushes) can do with 2 s. Everything else is
    current.

    Args:
        cassandra: The storage.
        accounts: Knows the users.
        clock: Tells the time of a change and the age of a read.
        blocks_age_s: How old an answer about blocks may be, in seconds. Questions about one user within that time
            share one read.
    """

    def __init__(
        self, cassandra: CassandraClient, accounts: AccountStore, clock: Clock, *, blocks_age_s: float = 0.0
    ) -> None:
        self._cassandra = cassandra
        self._accounts = accounts
        self._clock = clock
        self._contact_rows = ContactRows(cassandra)
        self._blocks = ReadThroughCache(self._read_blocks, clock, blocks_age_s)

    async def add(self, user_id: str, contact_id: str, now_ms: int) -> int:
        """See `ContactStore.add`."""
        return await self._contact_rows.begin(user_id, Relation.HAS_CONTACT, contact_id, now_ms)

    async def remove(self, user_id: str, contact_id: str) -> None:
        """See `ContactStore.remove`."""
        await self._contact_rows.end(user_id, Relation.HAS_CONTACT, contact_id, self._clock.now_ms())

    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """See `ContactStore.contacts`."""
        since = await self._contact_rows.all(user_id, Relation.HAS_CONTACT)
        return [Contact(user, since[user.user_id]) for user in await self._by_username(since)]

    async def contact_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.contact_count`."""
        return await self._contact_rows.count(user_id, Relation.HAS_CONTACT, besides)

    async def watchers(self, user_id: str) -> Collection[str]:
        """See `ContactStore.watchers`."""
        return set(await self._contact_rows.all(user_id, Relation.CONTACT_OF))

    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        """See `ContactStore.block`."""
        try:
            await self._contact_rows.begin(user_id, Relation.BLOCKS, blocked_id, now_ms)
        finally:
            self._forget_blocks(user_id, blocked_id)

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """See `ContactStore.unblock`."""
        try:
            await self._contact_rows.end(user_id, Relation.BLOCKS, blocked_id, self._clock.now_ms())
        finally:
            self._forget_blocks(user_id, blocked_id)

    async def blocked(self, user_id: str) -> Sequence[User]:
        """See `ContactStore.blocked`."""
        return await self._by_username(await self._contact_rows.all(user_id, Relation.BLOCKS))

    async def blocked_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.blocked_count`."""
        return await self._contact_rows.count(user_id, Relation.BLOCKS, besides)

    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.blocked_either_way`."""
        if not others:
            return set()
        blocks = await self._blocks.get(user_id)
        if blocks is None:
            return await self._contact_rows.among(user_id, [Relation.BLOCKS, Relation.BLOCKED_BY], others)
        return blocks.intersection(others)

    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.related`."""
        asked = {each for each in others if is_id(each)}
        if not asked:
            return asked
        found, channel_ids = await asyncio.gather(
            self._contact_rows.among(user_id, [Relation.HAS_CONTACT, Relation.CONTACT_OF], asked),
            channels_with(self._cassandra, user_id),
        )
        channels = set(channel_ids)
        rest = asked - {user_id, *found}
        together = {each for each in rest if direct_channel_id(user_id, each) in channels}
        return {*found, *together, *await self._sharing(channels, rest - together)}

    async def _sharing(self, channels: Collection[str], others: Collection[str]) -> Collection[str]:
        """Return those of `others` who are in any of the channels; ask by channel or by user, whichever are fewer."""
        if not channels or not others:
            return ()
        if len(others) <= len(channels):
            ids = list(channels)
            answers = await asyncio.gather(
                *(self._cassandra.execute(_STAYS_IN, (each, ids)) for each in others),
            )
            return [other for other, rows in zip(others, answers, strict=True) if any(not until for (until,) in rows)]
        ids = list(others)
        rows = await self._cassandra.execute_many(_STAYS_OF, [(each, ids) for each in channels])
        return {user_id for user_id, until_seq in rows if not until_seq}

    async def _by_username(self, user_ids: Collection[str]) -> Sequence[User]:
        users = await self._accounts.users(user_ids)
        return sorted(users.values(), key=lambda each: each.username)

    async def _read_blocks(self, user_id: str) -> frozenset[str] | None:
        return await self._contact_rows.blocks(user_id, _BLOCKS_READ)

    def _forget_blocks(self, *user_ids: str) -> None:
        for user_id in user_ids:
            self._blocks.forget(user_id)
