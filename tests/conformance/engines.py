"""The engines that the suites run on. Another engine is one more function here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.directory import SqliteDirectory
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog, SqlitePendingPush
from tidings.backends.sqlite.push import SqlitePushQueue, SqlitePushTokenStore
from tidings.core.ports import (
    AccountStore,
    ChannelLog,
    ContactStore,
    Directory,
    History,
    Inbox,
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
    directory: Directory
    inbox: Inbox
    contacts: ContactStore
    accounts: AccountStore
    push_queue: PushQueue
    push_tokens: PushTokenStore


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Ports]:
    """SQLite, on the data of a folder."""
    database = Database(folder)
    try:
        yield Ports(
            SqliteChannelLog(database),
            SqlitePendingPush(database),
            SqliteHistory(database),
            SqliteDirectory(database),
            SqliteInbox(database),
            SqliteContactStore(database),
            SqliteAccountStore(database),
            SqlitePushQueue(database),
            SqlitePushTokenStore(database),
        )
    finally:
        await database.close()


ENGINES = {"sqlite": sqlite}
