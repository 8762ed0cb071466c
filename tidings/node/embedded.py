"""All services in one process, on one SQLite database: nothing else has to be installed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Self

from api_server.account_service import AccountService, ContactService
from api_server.accounts import Accounts
from api_server.channel_service import ChannelService, HistoryService, PushService
from api_server.channels import Channels
from api_server.contacts import Contacts
from api_server.history import HistoryReader
from api_server.passwords import PasswordCost, Passwords
from api_server.push_tokens import PushTokens
from api_server.throttle import AccountLimits
from chat_server.live import LiveSessions
from chat_server.owned import OwnedChannels, OwnerPorts
from chat_server.pushes import PushPorts
from chat_server.replay import Replayer
from chat_server.server import ChatServer, ChatSettings
from chat_server.service import ChatService
from discovery.recommender import NearestFirst
from discovery.service import DiscoveryService
from notifier.dispatcher import Dispatcher
from notifier.log_provider import LogProvider
from notifier.sink import QueueSink
from presence_server.contacts import AnnouncedContacts
from presence_server.service import PresenceService
from presence_server.tracker import Tracker
from tidings.backends.memory.presence import MemoryPresenceNews, MemoryPresenceStore
from tidings.backends.memory.registry import MemoryRegistry
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.directory import SqliteDirectory
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog, SqlitePendingPush
from tidings.backends.sqlite.push import SqlitePushQueue, SqlitePushTokenStore
from tidings.core.clock import SystemClock
from tidings.core.ids import new_server_id
from tidings.core.positions import Positions
from tidings.core.rate import Rate
from tidings.core.values import PushProvider, Server, ServerKind
from tidings.node.keys import key_id, signing_key
from tidings.node.settings import RateSettings, Settings, SettingsError
from tidings.node.streams import AllStreams
from tidings.rpc.edge import Edge
from tidings.rpc.listener import Certificate, Listener
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    channel_pb2_grpc,
    chat_pb2,
    contact_pb2,
    contact_pb2_grpc,
    discovery_pb2,
    discovery_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    presence_pb2,
    presence_pb2_grpc,
    push_pb2,
    push_pb2_grpc,
)

_log = logging.getLogger(__name__)

_LOAD_SECONDS = 5.0
_STOP_SECONDS = 1.0
_KINDS = {
    "chat": ServerKind.CHAT,
    "api": ServerKind.API,
    "presence": ServerKind.PRESENCE,
    "discovery": ServerKind.DISCOVERY,
}


class Embedded:
    """The services and their engines, from opening the database to closing it."""

    def __init__(self, settings: Settings, database: Database, first_position: int) -> None:
        """Puts everything together; nothing runs before `start`. See `open`."""
        self._settings = settings
        self._database = database
        clock = SystemClock()
        token_ms = round(settings.access_token_seconds * 1000)
        key = signing_key(settings.data)
        issuer = TokenIssuer(key, key_id(key), clock, token_ms)
        self._revocations = Revocations(clock, token_ms)
        verifier = TokenVerifier({key_id(key): key.public_key()}, clock, self._revocations)
        self._server_id = new_server_id()
        self._registry = MemoryRegistry()
        recommender = NearestFirst(self._registry)

        self._accounts_store = SqliteAccountStore(database)
        stored_contacts = SqliteContactStore(database)
        tokens = SqlitePushTokenStore(database)
        queue = SqlitePushQueue(database)
        log, history, directory = SqliteChannelLog(database), SqliteHistory(database), SqliteDirectory(database)

        self._tracker = Tracker(MemoryPresenceStore(), MemoryPresenceNews(), stored_contacts, clock)
        contacts_store = AnnouncedContacts(stored_contacts, self._tracker.relation_changed)
        self._dispatcher = Dispatcher(queue, tokens, {PushProvider.LOG: LogProvider()}, clock)
        sink = QueueSink(queue, tokens, self._dispatcher, clock)
        live = LiveSessions()
        self._owned = OwnedChannels(
            OwnerPorts(log, PushPorts(SqlitePendingPush(database), history, directory, contacts_store, sink)),
            live,
            Positions(clock, after=first_position),
            clock,
            settings.push_delay_seconds,
        )
        self._chat = ChatServer(
            live,
            self._owned,
            Replayer(self._server_id, log, SqliteInbox(database), clock, settings.inbox_days),
            verifier,
            clock,
            ChatSettings(_rate(settings.rates.commands)),
        )
        rates, cost = settings.rates, settings.passwords
        self._passwords = Passwords(PasswordCost(cost.memory_kib, cost.iterations, cost.parallelism))
        accounts = Accounts(
            self._accounts_store,
            self._passwords,
            issuer,
            self._revocations,
            AllStreams(self._chat, self._tracker),
            recommender,
            clock,
            AccountLimits(_rate(rates.sign_ups), _rate(rates.failed_log_ins), _rate(rates.failed_log_ins_by_address)),
        )
        contacts = Contacts(contacts_store, self._accounts_store, self._owned.owner, clock)
        channels = Channels(self._owned.owner, directory, self._accounts_store, contacts_store)

        self._listener = listener = Listener([Edge(verifier)])
        server = listener.server
        if "chat" in settings.services:
            ChatService(self._chat).add_to(server)
            listener.serves(chat_pb2.DESCRIPTOR)
        if "api" in settings.services:
            account_pb2_grpc.add_AccountServiceServicer_to_server(AccountService(accounts), server)
            contact_pb2_grpc.add_ContactServiceServicer_to_server(ContactService(contacts), server)
            channel_pb2_grpc.add_ChannelServiceServicer_to_server(ChannelService(channels), server)
            history_pb2_grpc.add_HistoryServiceServicer_to_server(HistoryService(HistoryReader(history)), server)
            push_pb2_grpc.add_PushServiceServicer_to_server(PushService(PushTokens(tokens)), server)
            for file in (account_pb2, contact_pb2, channel_pb2, history_pb2, push_pb2):
                listener.serves(file.DESCRIPTOR)
        if "presence" in settings.services:
            presence_pb2_grpc.add_PresenceServiceServicer_to_server(PresenceService(self._tracker), server)
            listener.serves(presence_pb2.DESCRIPTOR)
        if "discovery" in settings.services:
            discovery_pb2_grpc.add_DiscoveryServiceServicer_to_server(
                DiscoveryService(recommender, self._registry), server
            )
            listener.serves(discovery_pb2.DESCRIPTOR)
        self._endpoint = ""
        self._background: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Opens the data folder and puts everything together.

        Raises:
            DataFolderError: The folder cannot be used.
            SettingsError: A setting cannot be followed.
        """
        database = Database(settings.data)
        try:
            return cls(settings, database, await SqliteChannelLog(database).committed_position())
        except BaseException:
            await database.close()
            raise

    async def start(self) -> str:
        """Begins to serve.

        Returns:
            HOST:PORT that is listened at.

        Raises:
            ListenError: The address cannot be listened at.
            SettingsError: The certificate cannot be read.
        """
        settings = self._settings
        self._revocations.add(await self._accounts_store.revoked_since(self._revocations.oldest_ms()))
        await self._owned.change_hands()
        listening = await self._listener.start(settings.listen, _certificate(settings), settings.plaintext)
        self._endpoint = settings.advertise or listening
        await self._register()
        self._background = asyncio.create_task(self._run())
        return listening

    async def wait(self) -> None:
        """Waits for what runs in the background, which ends only by failing."""
        if self._background is not None:
            await asyncio.shield(self._background)

    async def drain(self) -> None:
        """Takes no new streams, finishes what is under way, and ends the streams there are."""
        await self._listener.drain()
        await self._register(draining=True)
        # There is no other server here that clients could move to while this one still works.
        self._chat.drain(())
        self._tracker.drain()
        await self._owned.close()
        self._chat.close()

    async def close(self) -> None:
        """Stops everything and lets go of the data folder."""
        await self._listener.stop(_STOP_SECONDS)
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
        await self._dispatcher.close()
        await self._passwords.close()
        await self._database.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._owned.run())
            group.create_task(self._chat.run())
            group.create_task(self._tracker.run())
            group.create_task(self._dispatcher.run())
            group.create_task(self._report_load())

    async def _report_load(self) -> None:
        while True:
            await asyncio.sleep(_LOAD_SECONDS)
            await self._register()

    async def _register(self, draining: bool = False) -> None:
        settings = self._settings
        for service in settings.services:
            load = len(self._chat.live) / settings.capacity
            await self._registry.register(
                Server(
                    self._server_id,
                    _KINDS[service],
                    self._endpoint,
                    settings.region,
                    min(1.0, load),
                    settings.latitude,
                    settings.longitude,
                    draining,
                )
            )


def _rate(settings: RateSettings) -> Rate:
    return Rate(settings.per_second, settings.burst)


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_private_key is None:
        return None
    try:
        return Certificate(settings.tls_private_key.read_bytes(), settings.tls_certificate.read_bytes())
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}") from error
