"""A chat server: its sessions, its channels, and how the commands of a session are carried out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chat_server import events
from chat_server.channels.local import Channels
from chat_server.commands import channel_action
from chat_server.events import accepted, refused
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal, invalid, unauthenticated, unavailable
from tidings.core.ids import check_id
from tidings.core.limits import SessionLimits
from tidings.core.ports import DeviceStreams
from tidings.core.rate import Rate, RateLimiter
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest
from tidings.core.values import Server
from tidings.rpc.status import to_status
from tidings.rpc.tasks import periodic
from tidings.rpc.tokens import TokenVerifier
from tidings.v1 import chat_pb2, discovery_pb2

_log = logging.getLogger(__name__)

# While the storage does not answer, a sign-out waits no longer for what is being written.
_SETTLE_SECONDS = 2.0
_TOKEN_TICK = 1.0
_TOKEN_WARNING = 60.0
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What an operator may set of a chat server."""

    commands: Rate
    """How fast one user may send commands."""
    session: SessionLimits = field(default_factory=SessionLimits)
    push_delay: float = 5.0
    """Seconds without an acknowledgement after which a push goes out."""
    inbox_days: int = 30
    """Days that an inbox keeps what was not received."""
    restored: Sequence[tuple[int, int]] = ()
    """What was lost when older copies of the data were restored; see `CatchUp`."""


class Registrar(Protocol):
    """Tells the other servers which users have sessions here."""

    async def enter(self, session: Session) -> None:
        """Announce a session; older sessions of its device on other servers end."""

    def leave(self, user_id: str) -> None:
        """Announce that a user has no session here any more."""


class ChatServer(DeviceStreams):
    """The sessions of a chat server, without their I/O.

    Args:
        sessions: Where sessions are entered.
        channels: Where their requests go.
        catch_up: Brings a session up to date.
        verifier: Checks newer tokens.
        clock: Tells when tokens run out.
        settings: The operator's settings.
        registrar: Tells other servers who is here; None when there are none.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        channels: Channels,
        catch_up: CatchUp,
        verifier: TokenVerifier,
        clock: Clock,
        settings: ChatSettings,
        registrar: Registrar | None = None,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.channels = channels
        self.catch_up = catch_up
        self._limiter = RateLimiter(settings.commands, clock)
        self._most_at_once = settings.commands.burst
        self._verifier = verifier
        self._clock = clock
        self._registrar = registrar
        self._draining = False

    async def run(self) -> None:
        """Warn sessions whose token runs out, and end those whose token has run out, until cancelled."""
        await periodic(_TOKEN_TICK, self._watch_tokens)

    def close(self) -> None:
        """End every session once everything that waits for it is written."""
        for session in self.sessions:
            session.finish(_draining())

    def drain(self, others: Sequence[Server]) -> None:
        """Refuse new sessions from now on, and tell the present ones which other servers there are."""
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
        frame = events.framed(chat_pb2.Event(server_notice=notice))
        for session in self.sessions:
            session.send(frame)

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def enter(self, session: Session) -> None:
        """Make a session reachable, also from other servers. Its events are held back until its replay is finished.

        Raises:
            Refusal: UNAVAILABLE, the server is going away.
        """
        if self._draining:
            raise _draining()
        session.opened = self._clock.monotonic()
        session.begin_replay()
        self.sessions.add(session)
        if self._registrar is not None:
            await self._registrar.enter(session)

    def leave(self, session: Session) -> None:
        """Forget a session whose stream is gone."""
        self.sessions.remove(session)
        session.close()
        if self._registrar is not None and not self.sessions.has(session.identity.user_id):
            self._registrar.leave(session.identity.user_id)

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """See `DeviceStreams.end_devices`. Their sessions have ended; this waits for what they have asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.channels.settle(revoked.keys())

    def take(self, session: Session, commands: int) -> float:
        """Count commands against what a user may send.

        Returns:
            0 when they were counted, else the seconds until they can be.
        """
        return self._limiter.take(session.identity.user_id, min(commands, self._most_at_once))

    async def obey(self, session: Session, command: chat_pb2.Command) -> None:
        """Carry out a command of a session that has not ended. It gets its result, now or later."""
        try:
            await self._obey(session, command)
        except Refusal as refusal:
            session.send(refused(command.command_id, to_status(refusal)))

    async def _obey(self, session: Session, command: chat_pb2.Command) -> None:
        """Send a command to its channel, or carry it out on the session itself."""
        body = command.WhichOneof("body")
        if body == "acknowledge":
            for channel_id, seq in session.unacknowledged.acknowledged(command.acknowledge.position).items():
                self.channels.received(channel_id, session.identity.user_id, seq)
        else:
            asked = channel_action(command, body) if body is not None else None
            if asked is not None:
                channel_id, action = asked
                session.start_command()
                reply, identity = SessionReply(session, command.command_id), session.identity
                self.channels.post(ChannelRequest(channel_id, identity.user_id, action, reply, identity))
                return
            if body == "set_typing":
                typing = command.set_typing
                check_id("set_typing.channel_id", typing.channel_id)
                await self.channels.typing(typing.channel_id, session.identity.user_id, typing.typing)
            elif body == "reauthenticate":
                self._reauthenticate(session, command.reauthenticate.access_token)
            elif body == "hello":
                raise Refusal(
                    Code.FAILED_PRECONDITION, "the session has begun: Hello comes once", reason=Reason.ALREADY_BEGUN
                )
            else:
                raise invalid("body", "the command asks for nothing that this server knows")
        if command.command_id or body == "reauthenticate":
            session.send(accepted(command.command_id, None))

    def _reauthenticate(self, session: Session, access_token: str) -> None:
        identity = self._verifier.verify(access_token)
        if identity.device_id != session.identity.device_id or identity.user_id != session.identity.user_id:
            raise Refusal(Code.PERMISSION_DENIED, "the token is another device's", reason=Reason.OTHER_DEVICE)
        session.identity = identity
        session.warned = False

    async def _watch_tokens(self) -> None:
        now = self._clock.monotonic()
        for session in self.sessions:
            left = session.identity.good_until - now
            if left <= 0:
                session.end(unauthenticated("the access token has run out", Reason.TOKEN_EXPIRED))
            elif left <= _TOKEN_WARNING and not session.warned:
                session.warned = True
                notice = chat_pb2.ServerNotice(
                    kind=chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING, text="the access token runs out: send a newer one"
                )
                session.send(events.framed(chat_pb2.Event(server_notice=notice)))


def _draining() -> Refusal:
    return unavailable("the server is going away", Reason.DRAINING)
