"""The rules of channels and their history on a database of their own, with the real sequencer of the channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from api_server.channel_limits import ChannelLimits, ChannelRates
from api_server.channels import ChannelCalls
from api_server.history import HistoryReader
from api_server.push_tokens import PushTokens
from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from tests.support.clock import FakeClock
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.backends.sqlite.push_tokens import SqlitePushTokenStore
from tidings.core.positions import Positions
from tidings.core.rate import Rate
from tidings.core.values import Device, Platform, User

UNLIMITED = ChannelRates(Rate(1e9, 1e9), Rate(1e9, 1e9))


@dataclass(frozen=True)
class World:
    channels: ChannelCalls
    history: HistoryReader
    push_tokens: PushTokens
    push_token_store: SqlitePushTokenStore
    sequencer: Sequencer
    accounts: SqliteAccountStore
    contacts: SqliteContactStore
    memberships: SqliteMemberships
    clock: FakeClock

    async def sign_up(self, *user_ids: str) -> None:
        await asyncio.gather(
            *(
                self.accounts.create_user(
                    User(each, each, each, "", 1),
                    "hash",
                    Device(f"v{each}", each, "", Platform.BOT, 1, 1),
                    each.encode(),
                )
                for each in user_ids
            )
        )


@asynccontextmanager
async def open_world(folder: Path, rates: ChannelRates = UNLIMITED) -> AsyncIterator[World]:
    database = Database(folder)
    clock = FakeClock()
    sequencer = Sequencer(SqliteChannelLog(database), SessionRegistry(), Positions(clock), clock)
    memberships = SqliteMemberships(database)
    accounts, contacts = SqliteAccountStore(database), SqliteContactStore(database)
    tokens = SqlitePushTokenStore(database)
    yield World(
        ChannelCalls(sequencer, memberships, accounts, contacts, ChannelLimits(memberships, rates, clock)),
        HistoryReader(SqliteHistory(database)),
        PushTokens(tokens),
        tokens,
        sequencer,
        accounts,
        contacts,
        memberships,
        clock,
    )
    await sequencer.close()
    await database.close()
