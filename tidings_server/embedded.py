"""The embedded backend: SQLite in the data folder, memory for the rest, and every service in this process."""

from __future__ import annotations

import asyncio
from typing import Self

from chat_server.channels.local import ChannelPorts
from chat_server.channels.push_decider import DecisionPorts
from chat_server.standalone import StandaloneChatServer
from presence_server.contacts import AnnouncedContacts
from presence_server.tracker import Tracker
from tidings.backends.memory.presence import MemoryPresencePubSub, MemoryPresenceStore
from tidings.backends.memory.registry import MemoryRegistry
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
from tidings.core.clock import Clock
from tidings.core.positions import Positions
from tidings.rpc.tasks import periodic
from tidings_server.device_streams import AllStreams
from tidings_server.engines import Engines, NodeContext, Services
from tidings_server.keys import TokenKeys
from tidings_server.notifier import Notifier, NotifierPorts
from tidings_server.servicers import chat_settings
from tidings_server.settings import Settings

# Between two looks for sign-outs whose access tokens have run out.
_FORGET_SECONDS = 60.0


class EmbeddedEngines(Engines):
    """One SQLite database; nothing else has to be installed. See `open`.

    Args:
        settings: Say where the token key is, if it is not in the data folder.
        database: The database in the data folder; closed by `close`.
        positions: Numbers events.
        clock: Tells the time.

    Raises:
        SettingsError: The token key cannot be used.
    """

    load_seconds = 5.0

    def __init__(self, settings: Settings, database: Database, positions: Positions, clock: Clock) -> None:
        self.database = database
        self.positions = positions
        self.keys = TokenKeys.load(settings.token_key or settings.data / "token-key.pem", make=True)
        self.accounts = SqliteAccountStore(database)
        self.contacts = SqliteContactStore(database)
        self.memberships = SqliteMemberships(database)
        self.history = SqliteHistory(database)
        self.push_tokens = SqlitePushTokenStore(database)
        self.registry = MemoryRegistry()
        self.shared_rates = None

    @classmethod
    async def open(cls, settings: Settings, clock: Clock) -> Self:
        """Open the data folder.

        Raises:
            DataFolderError: The folder cannot be used.
            SettingsError: The token key cannot be used.
        """
        database = Database(settings.data)
        try:
            last_position = await SqliteChannelLog(database).committed_position()
            return cls(settings, database, Positions(clock, after=last_position), clock)
        except BaseException:
            await database.close()
            raise

    async def close(self) -> None:
        """See `Engines.close`."""
        await self.database.close()


class EmbeddedServices(Services):
    """All services, whichever are offered: they call one another, and nobody else would do the work of one.

    Args:
        engines: Where everything is kept.
        node: What all services are given.

    Raises:
        SettingsError: A setting cannot be followed.
    """

    def __init__(self, engines: EmbeddedEngines, node: NodeContext) -> None:
        self._accounts = engines.accounts
        self._revocations = node.revocations
        settings, clock, database = node.settings, node.clock, engines.database
        self.tracker = tracker = Tracker(MemoryPresenceStore(), MemoryPresencePubSub(), engines.contacts, clock)
        self.contacts = AnnouncedContacts(engines.contacts, tracker.relation_changed)
        notifier_ports = NotifierPorts(
            SqlitePushQueue(database), engines.push_tokens, engines.memberships, engines.accounts
        )
        notifier = Notifier(settings.push, notifier_ports, clock, node.metrics)
        decision = DecisionPorts(SqlitePendingPush(database), engines.memberships, engines.contacts, notifier.sink)
        self.chat = chat_server = StandaloneChatServer(
            node.server_id,
            ChannelPorts(SqliteChannelLog(database), engines.history, decision),
            SqliteInbox(database),
            engines.positions,
            node.verifier,
            clock,
            chat_settings(settings),
        )
        self.writer = chat_server.channels.sequencer
        self.device_streams = AllStreams(node.calls, chat_server.chat, tracker)
        self._chat_server, self._tracker, self._dispatcher = chat_server, tracker, notifier.dispatcher

    async def start(self) -> str:
        """See `Services.start`: nobody else is there."""
        self._revocations.add(await self._accounts.revoked(self._revocations.kept))
        await self._chat_server.start()
        return ""

    async def run(self) -> None:
        """See `Services.run`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._chat_server.run())
            group.create_task(self._tracker.run())
            group.create_task(self._dispatcher.run())
            group.create_task(periodic(_FORGET_SECONDS, self._forget_revoked))

    async def drain(self) -> None:
        """See `Services.drain`: there is no other server."""

    async def stop(self, grace: float) -> None:
        """See `Services.stop`: there is no other server."""

    async def close(self) -> None:
        """See `Services.close`."""
        await self._dispatcher.close()

    async def _forget_revoked(self) -> None:
        gone = self._revocations.forget()
        if gone:
            await self._accounts.forget_revoked(gone)
