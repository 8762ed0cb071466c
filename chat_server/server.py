"""A chat server: its sessions and its channels, and what the commands of a session ask of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from chat_server import pushes, receipts, wire
from chat_server.commands import channel_action
from chat_server.live import LiveSessions
from chat_server.owner import Owner, OwnerEvents, Submission
from chat_server.pushes import Pushes, PushPorts
from chat_server.receipts import Receipts
from chat_server.replay import Replayer
from chat_server.session import Session
from chat_server.wire import accepted, refused
from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal, invalid, not_found, too_fast, unauthenticated, unavailable
from tidings.core.failures import without_message
from tidings.core.limits import SessionLimits
from tidings.core.ports import ChannelLog, Inbox, Sessions
from tidings.core.positions import Positions
from tidings.core.rate import Rate, RateLimiter
from tidings.core.values import Server
from tidings.rpc.status import to_status
from tidings.rpc.tokens import TokenVerifier
from tidings.v1 import chat_pb2, discovery_pb2

_log = logging.getLogger(__name__)

_TOKEN_TICK = 1.0
_TOKEN_WARNING_MS = 60_000
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What an operator may set."""

    push_delay: float = 5.0
    """Seconds without an acknowledgement after which a push goes out."""
    inbox_days: int = 30
    """Days that an inbox keeps what was not received."""
    commands: Rate = field(default_factory=lambda: Rate(per_second=100, burst=1_000))
    """How fast one user may send commands."""
    session: SessionLimits = field(default_factory=SessionLimits)


@dataclass(frozen=True, slots=True)
class ChatPorts:
    """What a chat server stands on."""

    log: ChannelLog
    inbox: Inbox
    push: PushPorts


class ChatServer(Sessions):
    """Everything about a chat server but the streams' I/O."""

    def __init__(
        self,
        server_id: str,
        ports: ChatPorts,
        positions: Positions,
        verifier: TokenVerifier,
        clock: Clock,
        settings: ChatSettings,
    ) -> None:
        """A server named `server_id`; `run` makes it do what has to be done from time to time."""
        self.settings = settings
        self.live = LiveSessions()
        self.owner = Owner(
            ports.log,
            self.live,
            positions,
            clock,
            OwnerEvents(
                marked=lambda channel, user_ids: self._receipts.changed(channel, user_ids),
                written=lambda channel, draft: self._pushes.written(channel, draft),
                is_awake=lambda channel_id: self._pushes.is_awake(channel_id),
                is_unsaved=lambda channel_id: self._receipts.is_unsaved(channel_id),
            ),
        )
        self.replayer = Replayer(server_id, ports.log, ports.inbox, clock, settings.inbox_days * _DAY_MS)
        self._receipts = Receipts(ports.log, self.live, positions, clock, self.owner.loaded)
        self._pushes = Pushes(ports.push, clock, settings.push_delay, self.owner.channel)
        self._limiter = RateLimiter(settings.commands, clock)
        self._verifier = verifier
        self._clock = clock
        self._draining = False

    async def run(self) -> None:
        """Tells receipts, decides about pushes and watches over tokens, until cancelled."""
        await self._pushes.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(receipts.TICK, self._receipts.flush))
            group.create_task(_every(pushes.TICK, self._pushes.decide))
            group.create_task(_every(_TOKEN_TICK, self._watch_tokens))

    async def close(self) -> None:
        """Finishes what is under way, and ends every session once all that it has coming is written."""
        await self.owner.close()
        await self._receipts.flush(everything=True)
        for session in self.live:
            session.finish(_draining())

    def drain(self, others: Sequence[Server]) -> None:
        """Takes no new sessions, and tells those who are here where else to go."""
        self._draining = True
        notice = chat_pb2.ServerNotice(
            kind=chat_pb2.ServerNotice.KIND_DRAINING,
            text="this server is going away",
            servers=[
                discovery_pb2.Server(
                    server_id=each.server_id,
                    kind=discovery_pb2.ServerKind.Name(each.kind),
                    endpoint=each.endpoint,
                    region=each.region,
                    load=each.load,
                )
                for each in others
            ],
        )
        frame = wire.framed(chat_pb2.Event(server_notice=notice))
        for session in self.live:
            session.send(frame)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def enter(self, session: Session) -> None:
        """Makes a session reachable; what comes for it is held back until its replay is finished.

        Raises:
            Refusal: UNAVAILABLE, the server is going away.
        """
        if self._draining:
            raise _draining()
        session.begin_replay()
        self.live.add(session)

    def leave(self, session: Session) -> None:
        """The session's stream is gone."""
        self.live.remove(session)
        session.close()

    async def end_devices(self, device_ids: Collection[str]) -> None:
        """See `Sessions.end_devices`."""
        for device_id in device_ids:
            session = self.live.of_device(device_id)
            if session is not None:
                session.end(unauthenticated("the device has been signed out", "DEVICE_REVOKED"))

    async def obey(self, session: Session, command: chat_pb2.Command) -> None:
        """Does what a command asks. Its result comes to the session, now or later."""
        try:
            await self._obey(session, command)
        except Refusal as refusal:
            session.send(refused(command.command_id, to_status(refusal)))

    async def _obey(self, session: Session, command: chat_pb2.Command) -> None:
        body = command.WhichOneof("body")
        if body == "acknowledge":
            # Not limited: it makes the server's work less.
            await self._acknowledge(session, command.acknowledge.position)
        else:
            wait = self._limiter.take(session.identity.user_id)
            if wait:
                raise too_fast("commands", wait)
            asked = channel_action(command, body) if body is not None else None
            if asked is not None:
                channel_id, action = asked
                if not channel_id:
                    raise not_found("channel", f"{body}.channel_id")
                session.start_command()
                self.owner.post(channel_id, Submission(session.identity.user_id, action, session, command.command_id))
                return
            if body == "set_typing":
                await self._set_typing(session, command.set_typing)
            elif body == "reauthenticate":
                self._reauthenticate(session, command.reauthenticate.access_token)
            elif body == "hello":
                raise Refusal(
                    Code.FAILED_PRECONDITION, "the session has begun: Hello comes once", reason="ALREADY_BEGUN"
                )
            else:
                raise invalid("body", "the command asks for nothing that this server knows")
        if command.command_id or body == "reauthenticate":
            session.send(accepted(command.command_id, None))

    async def _acknowledge(self, session: Session, position: int) -> None:
        user_id = session.identity.user_id
        for channel_id, seq in session.unacknowledged.acknowledged(position).items():
            channel = await self.owner.channel(channel_id)
            if channel is not None and channel.delivered(user_id, seq):
                self._receipts.changed(channel, {user_id})

    async def _set_typing(self, session: Session, typing: chat_pb2.SetTyping) -> None:
        user_id = session.identity.user_id
        channel = await self.owner.channel(typing.channel_id) if typing.channel_id else None
        if channel is None or user_id not in channel.members:
            raise not_found("channel", "set_typing.channel_id")
        if channel.blocked:
            return
        event = chat_pb2.Typing(channel_id=typing.channel_id, user_id=user_id, typing=typing.typing)
        others = [each for each in channel.members if each != user_id]
        self.live.send(others, wire.framed(chat_pb2.Event(typing=event)))

    def _reauthenticate(self, session: Session, access_token: str) -> None:
        identity = self._verifier.verify(access_token)
        if identity.device_id != session.identity.device_id or identity.user_id != session.identity.user_id:
            raise Refusal(Code.PERMISSION_DENIED, "the token is another device's", reason="OTHER_DEVICE")
        session.identity = identity
        session.warned = False

    async def _watch_tokens(self) -> None:
        now = self._clock.now_ms()
        for session in self.live:
            left = session.identity.expires_at_ms - now
            if left <= 0:
                session.end(unauthenticated("the access token has run out", "TOKEN_EXPIRED"))
            elif left <= _TOKEN_WARNING_MS and not session.warned:
                session.warned = True
                notice = chat_pb2.ServerNotice(
                    kind=chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING, text="the access token runs out: send a newer one"
                )
                session.send(wire.framed(chat_pb2.Event(server_notice=notice)))


def _draining() -> Refusal:
    return unavailable("the server is going away", "DRAINING")


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:
            # One bad round must not be the last one.
            _log.error("%s failed", work.__qualname__, exc_info=without_message(error))
