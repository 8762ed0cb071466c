"""One server: the services that it offers, from the first call to the last commit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import Self, TypeVar

from api_server.passwords import Passwords
from discovery.recommender import NearestFirst
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ids import new_server_id
from tidings.core.values import Server, ServerKind
from tidings.rpc.addresses import ClientAddresses
from tidings.rpc.admission import Admission
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.server import GrpcServer
from tidings.rpc.tasks import periodic
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings_server.certificates import public_certificate, to_ourselves
from tidings_server.clock_watch import ClockWatch
from tidings_server.engines import Engines, NodeContext, Services
from tidings_server.metrics import Metrics
from tidings_server.servicers import (
    KINDS,
    ApiParts,
    add_api,
    add_chat,
    add_discovery,
    add_presence,
    call_limits,
    password_hashing,
)
from tidings_server.settings import Settings
from tidings_server.watchdog import Listener

_log = logging.getLogger(__name__)

_STOP_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_CLOCK_SECONDS = 1.0


E = TypeVar("E", bound=Engines)


class Node:
    """One server of either backend. See `open`; nothing runs before `start`.

    Args:
        settings: What to serve, and how.
        engines: Where everything is kept; closed by `close`.
        services: Puts together the services that run in this process.
        clock: Tells the time.

    Raises:
        SettingsError: A setting cannot be followed.
    """

    def __init__(
        self, settings: Settings, engines: Engines, services: Callable[[NodeContext], Services], clock: Clock
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._clock = clock
        self._server_id = new_server_id()
        self._token_ms = round(settings.access_token_seconds * 1000)
        self._revocations = Revocations(clock, self._token_ms)
        verifier = TokenVerifier(engines.keys.public, clock, self._revocations)
        self._metrics = Metrics()
        self._clock_watch = ClockWatch(clock, engines.positions, self._metrics.registry)
        calls = LiveCalls()
        context = NodeContext(
            settings, self._server_id, clock, verifier, self._revocations, calls, self._metrics.registry
        )
        self._services = services(context)
        addresses = ClientAddresses(settings.trusted_proxies, settings.forwarded_header.lower())
        admission = Admission(call_limits(settings), clock)
        self._listener = GrpcServer([CallInterceptor(verifier, calls, admission, addresses)])
        self._passwords: Passwords | None = None
        self._add_services()
        self.listeners: list[Listener] = []
        """Where this process listens, once it has started."""
        self._draining = False
        self._endpoint = self._internal_endpoint = ""
        self._background: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, settings: Settings, engines: E, services: Callable[[E, NodeContext], Services], clock: Clock
    ) -> Self:
        """Put a node together from the engines and services of one backend; the engines are closed if that fails.

        Raises:
            SettingsError: A setting cannot be followed.
        """
        try:
            return cls(settings, engines, partial(services, engines), clock)
        except BaseException:
            await engines.close()
            raise

    async def start(self) -> str:
        """Begin to serve, and enter the registry.

        Returns:
            HOST:PORT that is listened at for clients.

        Raises:
            ListenError: An address cannot be listened at.
            SettingsError: A certificate cannot be read, or an engine is not there.
        """
        settings = self._settings
        await self._clock_watch.look()
        self._internal_endpoint = await self._services.start()
        listening = await self._listener.start(settings.listen, public_certificate(settings), settings.plaintext)
        self.listeners = [Listener(listening, to_ourselves(settings, internal=False))]
        if self._services.listening:
            self.listeners.append(Listener(self._services.listening, to_ourselves(settings, internal=True)))
        self._endpoint = settings.advertise or listening
        self._metrics.start(settings.metrics_listen)
        self._background = asyncio.create_task(self._run())
        await self._register()
        return listening

    async def wait(self) -> None:
        """Wait for what runs in the background, which ends only by failing."""
        if self._background is not None:
            await asyncio.shield(self._background)

    async def drain(self) -> None:
        """Tell other servers and the clients to go elsewhere, wait until clients have moved, and finish what is left.

        Clients are waited for only where there is another chat server that they can move to.
        """
        self._listener.drain()
        await self._services.drain()
        self._draining = True
        try:
            await self._register()
        except Refusal as refusal:
            _log.warning("others hear of it when the lease runs out: %s", refusal)
        registry, chat, tracker = self._engines.registry, self._services.chat, self._services.tracker
        if tracker is not None:
            tracker.drain()
        if chat is not None:
            chat_servers = registry.servers(ServerKind.CHAT)
            others = [each for each in chat_servers if each.server_id != self._server_id and not each.draining]
            chat.chat.drain(others)
            if others:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.drain_seconds):
                        while len(chat.chat.sessions):  # noqa: ASYNC110 - a stop is no place for more machinery
                            await asyncio.sleep(_LOOK_SECONDS)
            await chat.close()
        for service in self._settings.services:
            with contextlib.suppress(Refusal):
                await registry.unregister(self._server_id, KINDS[service])

    async def close(self) -> None:
        """Stop everything, and close the engines."""
        await asyncio.gather(self._listener.stop(_STOP_SECONDS), self._services.stop(_STOP_SECONDS))
        if self._background is not None:
            self._background.cancel()
            # If it has failed, `wait` has told so.
            await asyncio.gather(self._background, return_exceptions=True)
        self._metrics.stop()
        if self._passwords is not None:
            await self._passwords.close()
        await self._services.close()
        await self._engines.close()

    def _add_services(self) -> None:
        """Put the services that are offered onto the listener; with the embedded backend, the others run unseen."""
        settings, engines, services, served = self._settings, self._engines, self._services, self._settings.services
        recommender = NearestFirst(engines.registry)
        if services.chat is not None:
            self._metrics.chat(services.chat)
            if "chat" in served:
                add_chat(self._listener, services.chat.chat)
        if services.tracker is not None and "presence" in served:
            add_presence(self._listener, services.tracker, self._clock)
        if "discovery" in served:
            add_discovery(self._listener, recommender, engines.registry)
        if "api" in served:
            self._passwords = password_hashing(settings)
            parts = ApiParts(
                engines.accounts,
                services.contacts,
                engines.memberships,
                engines.history,
                engines.push_tokens,
                services.writer,
                services.device_streams,
                recommender,
                TokenIssuer(engines.keys.private, engines.keys.key_id, self._clock, self._token_ms),
                self._revocations,
                self._passwords,
                self._clock,
                engines.shared_rates,
            )
            add_api(self._listener, parts, settings)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            group.create_task(periodic(self._engines.load_seconds, self._report_load))
            group.create_task(periodic(_CLOCK_SECONDS, self._clock_watch.look))

    async def _report_load(self) -> None:
        try:
            await self._register()
        except Refusal as refusal:
            _log.warning("the load is not reported: %s", refusal)

    async def _register(self) -> None:
        settings, chat, tracker = self._settings, self._services.chat, self._services.tracker
        streams = max(len(chat.chat.sessions) if chat is not None else 0, len(tracker) if tracker is not None else 0)
        here = Server(
            self._server_id,
            ServerKind.CHAT,
            self._endpoint,
            settings.region,
            min(1.0, streams / settings.capacity),
            settings.latitude,
            settings.longitude,
            self._draining,
            self._internal_endpoint,
            len(chat.channels.sequencer) if chat is not None else 0,
        )
        for service in settings.services:
            await self._engines.registry.register(dataclasses.replace(here, kind=KINDS[service]))
