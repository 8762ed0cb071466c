"""The stream itself: it is held open, opened again, and moved from server to server.

What goes over it is decided by `SessionProtocol`; here are the tasks and timers. There is one task for the whole, and
while a stream is open one that reads and one that writes, however much goes over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import random
import time
from collections.abc import Callable
from typing import TypeAlias

import grpc
from grpc import aio

from tidings.v1 import chat_pb2, chat_pb2_grpc, discovery_pb2
from tidings_client._api_client import ApiClient
from tidings_client._backfill import backfill
from tidings_client._call_status import CallStatus
from tidings_client._errors import SignedOutError, TidingsError, refusal
from tidings_client._reconnect_policy import ReconnectPolicy
from tidings_client._servers import Servers
from tidings_client._session_protocol import Phase, SessionProtocol
from tidings_client._transport import bearer, open_channel

_log = logging.getLogger(__name__)

_Stream: TypeAlias = "aio.StreamStreamCall[chat_pb2.ConverseRequest, chat_pb2.ConverseResponse]"

_WELCOME_SECONDS = 10.0
_FAREWELL_SECONDS = 1.0
# When a server is about to stop, its clients leave it one after another within this many seconds.
_MOVE_WITHIN_SECONDS = 1.0


class Status(enum.Enum):
    """The status of a connection."""

    CONNECTING = "connecting"
    """There is no stream; one is being opened."""
    SYNCING = "syncing"
    """A stream is open, and brings what was missed."""
    LIVE = "live"
    """Events come as they happen."""
    CLOSED = "closed"
    """The connection is over."""


_STATUS = {
    Phase.AWAY: Status.CONNECTING,
    Phase.OPENING: Status.CONNECTING,
    Phase.SYNCING: Status.SYNCING,
    Phase.LIVE: Status.LIVE,
}


class StreamRunner:
    """Holds a stream open for a `SessionProtocol`, and opens another whenever it is lost. `run` does it all.

    Args:
        protocol: Decides what is written, and takes what is read.
        api: Makes the calls beside the stream.
        on_events: Is called when events may wait in the receive buffer.
        on_status: Is called with each new status.
    """

    def __init__(
        self,
        protocol: SessionProtocol,
        api: ApiClient,
        *,
        on_events: Callable[[], None],
        on_status: Callable[[Status], None],
    ) -> None:
        self._protocol = protocol
        self._api = api
        self._on_events = on_events
        self._on_status = on_status
        self._servers = Servers(api.device.server, api.device.servers)
        self._policy = ReconnectPolicy(api.keeper, self._servers)
        self._reader: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._roomy = asyncio.Event()
        self._hurry = asyncio.Event()
        self._write_timer: asyncio.TimerHandle | None = None
        self._move_timer: asyncio.TimerHandle | None = None
        self._token_timer: asyncio.TimerHandle | None = None
        self._token = ""
        self._farewell: chat_pb2.ConverseRequest | None = None
        self.status = Status.CONNECTING
        self.server: discovery_pb2.Server | None = None
        """The server of the stream that is open or being opened."""
        self.last_error: TidingsError | None = None
        """Why the last stream ended; None when none did."""
        self.sessions = 0
        """The number of streams that a server welcomed."""

    async def run(self) -> None:
        """Holds a stream open until it is cancelled.

        Raises:
            SignedOutError: The device's sign-in has ended.
            ReplacedError: The device has a newer stream.
            TidingsError: No server will take this client.
        """
        stop_listening = self._api.keeper.listen(self._on_new_tokens)
        try:
            while True:
                await self._room()
                server = self.server = await self._api.choose(discovery_pb2.SERVER_KIND_CHAT, self._servers)
                error = await self._hold(server)
                self.last_error = error or self.last_error
                delay = await self._judge(server, error)
                self._hurry.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), delay)
        finally:
            stop_listening()
            if self._renewal is not None:
                self._renewal.cancel()

    def wake(self) -> None:
        """Looks whether there is something to write, and whether more can be read or has to be read again."""
        receive_buffer = self._protocol.receive_buffer
        if receive_buffer.is_skipping and receive_buffer.is_roomy and self._reader is not None:
            # Another stream brings the skipped events.
            self.reconnect()
        due = self._protocol.due()
        if due is not None:
            self._write_at(due)
        if not self._roomy.is_set() and (receive_buffer.is_roomy or not self._may_pause):
            self._roomy.set()

    def reconnect(self) -> None:
        """Gives up the stream, and opens another at once."""
        self._hurry.set()
        if self._reader is not None:
            self._reader.cancel()

    async def leave(self) -> None:
        """Writes what is left to write before the stream is closed."""
        if self._reader is not None and (farewell := self._protocol.farewell()) is not None:
            self._farewell = farewell
            self._writable.set()
            self._roomy.set()
            # When the server ends the stream in turn, it has read it.
            await asyncio.wait({self._reader}, timeout=_FAREWELL_SECONDS)

    # --- one stream after another -------------------------------------------------------------------------------------

    async def _judge(self, server: discovery_pb2.Server, error: TidingsError | None) -> float:
        """Decides what follows the end of a stream: raises when it was the last one, else gives the seconds to wait."""
        if error is None:
            return 0.0
        receive_buffer = self._protocol.receive_buffer
        if error.code is grpc.StatusCode.OUT_OF_RANGE and receive_buffer.received_cursor:
            _log.info("the server does not know the cursor %s: %s", receive_buffer.received_cursor, error)
            receive_buffer.restart()
            return 0.0
        return await self._policy.after(server, self._token, error)

    async def _room(self) -> None:
        """Waits until the application has taken most of the events that wait for it.

        It does not wait while a command has no result: the application may take no event before it has that. What comes
        meanwhile is kept up to the receive buffer's own bound.
        """
        while self._protocol.receive_buffer.is_crowded and self._may_pause:
            self._roomy.clear()
            await self._roomy.wait()

    @property
    def _may_pause(self) -> bool:
        """Whether the stream may be left unread: no command waits for its result, and nobody for the end."""
        return not len(self._protocol.send_buffer) and self._farewell is None

    # --- one stream ---------------------------------------------------------------------------------------------------

    async def _hold(self, server: discovery_pb2.Server) -> TidingsError | None:
        """Opens a stream, and reads and writes it until it ends.

        Returns:
            Why it ended; None when it was given up on purpose.
        """
        try:
            self._token = await self._api.keeper.current()
        except TidingsError as error:
            return error
        # Each stream has a channel of its own, so that no earlier failure delays the attempt.
        channel = open_channel(server.endpoint, self._api.tls)
        stream = chat_pb2_grpc.ChatServiceStub(channel).Converse(metadata=bearer(self._token))
        call_status = CallStatus(stream)
        reader = self._reader = asyncio.create_task(self._read(stream, server))
        writer = asyncio.create_task(self._write(stream))
        self._schedule_renewal()
        try:
            await asyncio.wait({reader})
            return await _why(reader, call_status)
        finally:
            self._reader = None
            for timer in (self._write_timer, self._move_timer, self._token_timer):
                if timer is not None:
                    timer.cancel()
            self._write_timer = self._move_timer = self._token_timer = None
            reader.cancel()
            writer.cancel()
            stream.cancel()
            self._protocol.lose()
            self._set_status(Status.CONNECTING)
            await asyncio.gather(reader, writer, return_exceptions=True)
            await channel.close()

    async def _read(self, stream: _Stream, server: discovery_pb2.Server) -> None:
        """Says Hello, then passes frame after frame to the protocol; raises why the stream ended."""
        protocol = self._protocol
        now = asyncio.get_running_loop().time
        # Not `read`, which refuses once a write has failed: results, and the reason, may still lie unread.
        frames = aiter(stream)
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                    await stream.write(protocol.open())
                # If that failed, reading tells why.
                frame = await anext(frames, None)
        except TimeoutError:
            raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED, f"{server.endpoint} does not answer") from None
        while frame is not None:
            if self._farewell is None:
                protocol.receive(frame, now())
                if protocol.receive_buffer.need is not None:
                    await self._backfill()
                self._react(server)
                self._on_events()
                await self._room()
            frame = await anext(frames, None)
        raise refusal(grpc.StatusCode.UNAVAILABLE, f"{server.endpoint} ended the stream")

    async def _backfill(self) -> None:
        try:
            await backfill(self._protocol, self._api)
        except SignedOutError:
            raise
        except TidingsError as error:
            # The error says nothing about the stream, and the next replay brings the same need again.
            raise refusal(grpc.StatusCode.UNAVAILABLE, f"what is missing could not be fetched: {error}") from error

    def _react(self, server: discovery_pb2.Server) -> None:
        """Acts on what a frame has changed: the status, the token, the server to move to, what there is to write."""
        protocol = self._protocol
        status = _STATUS[protocol.phase]
        if status is not self.status:
            if self.status is Status.CONNECTING:
                self.sessions += 1
                self._policy.welcomed()
            if status is Status.LIVE:
                self._policy.worked()
            self._set_status(status)
        if protocol.token_refused is not None:
            # A new stream shows whether the token is at fault.
            raise refusal(grpc.StatusCode.UNAVAILABLE, f"the newer token was refused: {protocol.token_refused}")
        if protocol.wants_token:
            protocol.wants_token = False
            self._renew(self._token)
        if protocol.refuge and self._move_timer is None:
            self._servers.failed(server)
            self._servers.learn(protocol.refuge)
            delay = random.uniform(0.0, _MOVE_WITHIN_SECONDS)
            self._move_timer = asyncio.get_running_loop().call_later(delay, self.reconnect)
        self.wake()

    async def _write(self, stream: _Stream) -> None:
        """Writes frame after frame as the protocol has them; ends with the farewell, or when the stream is gone."""
        protocol = self._protocol
        now = asyncio.get_running_loop().time
        # The reader finds out why a stream cannot be written to any more.
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                self._writable.clear()
                frame = protocol.write(now())
                if frame is not None:
                    # Commands that are added meanwhile gather, and go with the next frame.
                    await stream.write(frame)
                elif self._farewell is not None:
                    await stream.write(self._farewell)
                    await stream.done_writing()
                    return
                else:
                    self.wake()
                    await self._writable.wait()

    def _write_at(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if due <= loop.time():
            self._writable.set()
        elif self._write_timer is None or due < self._write_timer.when():
            if self._write_timer is not None:
                self._write_timer.cancel()
            self._write_timer = loop.call_at(due, self._write_now)

    def _write_now(self) -> None:
        self._write_timer = None
        self._writable.set()

    def _set_status(self, status: Status) -> None:
        if status is not self.status:
            self.status = status
            self._on_status(status)

    # --- the session's token ------------------------------------------------------------------------------------------

    def _schedule_renewal(self) -> None:
        if self._token_timer is not None:
            self._token_timer.cancel()
        delay = max(0.0, self._api.keeper.due - time.monotonic())
        self._token_timer = asyncio.get_running_loop().call_later(delay, self._renew, None)

    def _renew(self, refused: str | None) -> None:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew_now(refused))

    async def _renew_now(self, refused: str | None) -> None:
        keeper = self._api.keeper
        try:
            if refused is None:
                await keeper.current()
            else:
                await keeper.renew(refused)
        except SignedOutError as error:
            # The stream goes on until its token expires; then the server ends it.
            _log.warning("the access token cannot be renewed: %s", error)
            return
        except TidingsError as error:
            _log.info("the access token could not be renewed yet: %s", error)
        finally:
            self._renewal = None
        if self._reader is not None:
            self._schedule_renewal()

    def _on_new_tokens(self) -> None:
        if self._reader is not None:
            self._token = self._api.keeper.access_token
            self._protocol.reauthenticate(self._token)
            self.wake()
            self._schedule_renewal()


async def _why(reader: asyncio.Task[None], call_status: CallStatus) -> TidingsError | None:
    """Finds out why a stream ended whose reader is done; None when it was given up on purpose."""
    if reader.cancelled():
        return None
    failure = reader.exception()
    if failure is None or isinstance(failure, TidingsError):
        return failure
    if isinstance(failure, aio.AioRpcError):
        return await call_status.why(failure)
    raise failure
