"""All services in one process, on one SQLite database: nothing else has to be installed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from chat_server.channels.local import ChannelPorts, LocalChannels
from chat_server.channels.push_decider import DecisionPorts
from chat_server.server import ChatServer, ChatSettings
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from discovery.recommender import NearestFirst
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
from tidings.core.clock import SystemClock
from tidings.core.ids import new_server_id
from tidings.core.positions import Positions
from tidings.core.values import Server
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings_server.certificates import public_certificate
from tidings_server.keys import TokenKeys
from tidings_server.metrics import Metrics
from tidings_server.push import Notifier, NotifierPorts
from tidings_server.services import (
    KINDS,
    ApiParts,
    password_hashing,
    rate,
    serve_api,
    serve_chat,
    serve_discovery,
    serve_presence,
)
from tidings_server.settings import Settings
from tidings_server.streams import AllStreams

_LOAD_SECONDS = 5.0
_STOP_SECONDS = 1.0


class Embedded:
    """The services and their engines, from opening the database to closing it."""

    def __init__(self, settings: Settings, database: Database, first_position: int) -> None:
        """Puts everything together; nothing runs before `start`. See `open`."""
        self._settings = settings
        self._database = database
        clock = SystemClock()
        token_ms = round(settings.access_token_seconds * 1000)
        keys = TokenKeys.load(settings.token_key or settings.data / "token-key.pem", make=True)
        self._revocations = Revocations(clock, token_ms)
        verifier = TokenVerifier(keys.public, clock, self._revocations)
        self._server_id = new_server_id()
        self._registry = MemoryRegistry()
        recommender = NearestFirst(self._registry)

        self._accounts = SqliteAccountStore(database)
        stored_contacts = SqliteContactStore(database)
        tokens = SqlitePushTokenStore(database)
        queue = SqlitePushQueue(database)
        log, history, memberships = SqliteChannelLog(database), SqliteHistory(database), SqliteMemberships(database)

        self._tracker = Tracker(MemoryPresenceStore(), MemoryPresencePubSub(), stored_contacts, clock)
        contacts = AnnouncedContacts(stored_contacts, self._tracker.relation_changed)
        self._metrics = Metrics()
        notifier_ports = NotifierPorts(queue, tokens, memberships, self._accounts)
        notifier = Notifier(settings.push, notifier_ports, clock, self._metrics.registry)
        self._dispatcher = notifier.dispatcher
        sessions = SessionRegistry()
        self._channels = LocalChannels(
            ChannelPorts(
                log, history, DecisionPorts(SqlitePendingPush(database), memberships, contacts, notifier.sink)
            ),
            sessions,
            Positions(clock, after=first_position),
            clock,
            settings.push_delay_seconds,
        )
        set_back = [each.span_ms for each in settings.set_back]
        self._chat = ChatServer(
            sessions,
            self._channels,
            CatchUp(self._server_id, log, SqliteInbox(database), clock, settings.inbox_days, set_back),
            verifier,
            clock,
            ChatSettings(rate(settings.rates.commands)),
        )
        self._metrics.chat(
            lambda: len(self._chat.sessions),
            lambda: len(self._channels.sequencer),
            lambda: self._channels.messages_accepted,
        )
        self._passwords = password_hashing(settings)

        self._listener = listener = GrpcServer([CallInterceptor(verifier)])
        if "chat" in settings.services:
            serve_chat(listener, self._chat)
        if "api" in settings.services:
            parts = ApiParts(
                self._accounts,
                contacts,
                memberships,
                history,
                tokens,
                self._channels.sequencer,
                AllStreams(self._chat, self._tracker),
                recommender,
                TokenIssuer(keys.private, keys.key_id, clock, token_ms),
                self._revocations,
                self._passwords,
                clock,
            )
            serve_api(listener, parts, settings)
        if "presence" in settings.services:
            serve_presence(listener, self._tracker)
        if "discovery" in settings.services:
            serve_discovery(listener, recommender, self._registry)
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
        self._revocations.add(await self._accounts.revoked_since(self._revocations.oldest_ms()))
        await self._channels.change_hands()
        listening = await self._listener.start(settings.listen, public_certificate(settings), settings.plaintext)
        self._endpoint = settings.advertise or listening
        self._metrics.start(settings.metrics_listen)
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
        await self._channels.close()
        self._chat.close()

    async def close(self) -> None:
        """Stops everything and lets go of the data folder."""
        await self._listener.stop(_STOP_SECONDS)
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
        self._metrics.stop()
        await self._dispatcher.close()
        await self._passwords.close()
        await self._database.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._channels.run())
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
            load = len(self._chat.sessions) / settings.capacity
            await self._registry.register(
                Server(
                    self._server_id,
                    KINDS[service],
                    self._endpoint,
                    settings.region,
                    min(1.0, load),
                    settings.latitude,
                    settings.longitude,
                    draining,
                )
            )
