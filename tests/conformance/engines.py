"""The engines that the suites run on. Another engine is one more function here, and a name in `conftest.engine`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.costs import Meter, MeteredCassandra, MeteredDatabase
from tests.support.clock import FakeClock
from tests.support.engines import CassandraSpace
from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.contacts import CassandraContactStore
from tidings.backends.cassandra.driver import CassandraSettings
from tidings.backends.cassandra.history import CassandraHistory
from tidings.backends.cassandra.inbox import AHEAD_MS, OVERLAP_MS, CassandraInbox
from tidings.backends.cassandra.log import CassandraChannelLog
from tidings.backends.cassandra.memberships import CassandraMemberships
from tidings.backends.cassandra.pending_push import CassandraPendingPush
from tidings.backends.cassandra.push_tokens import CassandraPushTokenStore
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.backends.sqlite.pending_push import SqlitePendingPush
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.backends.sqlite.push_tokens import SqlitePushTokenStore
from tidings.core.ports import (
    AccountStore,
    ChannelLog,
    ContactStore,
    History,
    Inbox,
    Memberships,
    PendingPush,
    PushQueue,
    PushTokenStore,
)


@dataclass(frozen=True)
class Ports:
    """The ports of one engine, on the same data."""

    log: ChannelLog
    pending_push: PendingPush
    history: History
    directory: Memberships
    inbox: Inbox
    contacts: ContactStore
    accounts: AccountStore
    push_queue: PushQueue
    push_tokens: PushTokenStore
    meter: Meter
    clock: FakeClock = field(default_factory=FakeClock)
    """What the ports take for the time; the positions of a test should be of this time."""
    replay_before_ms: int = 0
    """How much of what lies before the cursor a replay brings again."""
    replay_beyond_ms: int = 0
    """How much of what lies beyond its end a replay may bring already."""


OpenPorts = Callable[[Path], AbstractAsyncContextManager[Ports]]
"""Opens an engine on what was kept for a folder: nothing, the first time."""


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Ports]:
    """SQLite, on the data of a folder."""
    database = MeteredDatabase(folder)
    try:
        yield Ports(
            SqliteChannelLog(database),
            SqlitePendingPush(database),
            SqliteHistory(database),
            SqliteMemberships(database),
            SqliteInbox(database),
            SqliteContactStore(database),
            SqliteAccountStore(database),
            SqlitePushQueue(database),
            SqlitePushTokenStore(database),
            database.meter,
        )
    finally:
        await database.close()


class CassandraEngine:
    """Cassandra. Making tables takes seconds, so all folders share a keyspace, which another folder finds emptied."""

    def __init__(self, space: CassandraSpace) -> None:
        self.settings = CassandraSettings((space.address,), space.keyspace)
        self._folder: Path | None = None

    @asynccontextmanager
    async def __call__(self, folder: Path) -> AsyncIterator[Ports]:
        cassandra = await MeteredCassandra.open(self.settings)
        database = Database(folder)
        try:
            if folder != self._folder:
                await empty(cassandra)
                self._folder = folder
            clock = FakeClock()
            accounts = CassandraAccountStore(cassandra, clock)
            contacts = CassandraContactStore(cassandra, accounts, clock)
            pending = CassandraPendingPush(cassandra)
            yield Ports(
                CassandraChannelLog(cassandra, contacts, pending, clock),
                pending,
                CassandraHistory(cassandra),
                CassandraMemberships(cassandra, contacts),
                CassandraInbox(cassandra, clock),
                contacts,
                accounts,
                SqlitePushQueue(database),
                CassandraPushTokenStore(cassandra, clock),
                cassandra.meter,
                clock,
                OVERLAP_MS,
                AHEAD_MS,
            )
        finally:
            await cassandra.close()
            await database.close()


async def empty(cassandra: CassandraClient) -> None:
    """Empties all tables of a keyspace. One that is empty is left alone: it takes Cassandra a while."""
    tables = await cassandra.execute(
        Statement("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?"), (cassandra.settings.keyspace,)
    )

    async def empty_one(table: str) -> None:
        if await cassandra.execute(Statement(f"SELECT * FROM {table} LIMIT 1")):
            await cassandra.execute(Statement(f"TRUNCATE {table}"))

    await asyncio.gather(*(empty_one(table) for (table,) in tables if not table.startswith("migration")))
