"""The stream to one sequencer, from the server that dials: it reconnects, and knows which requests are pending."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from google.rpc import status_pb2
from grpc import aio

from tidings.core.actions import Accepted
from tidings.core.errors import Refusal, unavailable, without_message
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest, Outcome
from tidings.internal.v1 import peer_pb2
from tidings.mesh import action_codec
from tidings.mesh.deliveries import IncomingDeliveries
from tidings.rpc.status import from_status

_log = logging.getLogger(__name__)

_METHOD = "/tidings.internal.v1.PeerService/Link"
_OPEN_SECONDS = 5.0
_AGAIN_SECONDS = (0.05, 1.0)
WRITE_SECONDS = 0.002
"""Between two writes to a stream, while there is more to write: what gathers meanwhile is one frame.

With what is told later and what the inboxes gather, 43 us a delivery to a group of 100 instead of 64.
"""
# What members have received and what has arrived here is told this late: nobody waits for it, and the next one says it
# too. A member who acknowledges every frame of a busy channel is ten requests a second at most.
_LATER_SECONDS = 0.1
# What may wait for a sequencer before more is refused.
_MOST_PENDING = 20_000

# Unique over all links of this process: deliveries of an earlier stream may still name them.
_request_ids = itertools.count(1)


class PeerHandler(Protocol):
    """A server with sessions, which takes what the sequencers send."""

    def delivered(self, delivery: peer_pb2.Delivery, take_request: Callable[[int], ChannelRequest | None]) -> None:
        """Deliver new entries.

        Args:
            delivery: The entries.
            take_request: Takes out the request with a number, whose outcome is an entry; None when it has failed.
        """

    def ephemeral(self, ephemeral: peer_pb2.Ephemeral) -> None:
        """Send an event that is in no log."""

    def newer_stream(self, newer: peer_pb2.NewerStream) -> None:
        """End the stream of a device here, if it is older than one that the device has elsewhere."""

    def deliveries_lost(self) -> None:
        """Make the sessions catch up from their inboxes."""


class PeerLink:
    """Sends requests to one sequencer, and takes what it delivers. Nothing is connected before `run`.

    Args:
        dial: Makes a channel to the sequencer's internal listener.
        server_id: The server whose sessions events are for; empty for one without sessions.
        handler: Takes the events; None for a server without sessions.
    """

    def __init__(self, dial: Callable[[], aio.Channel], server_id: str, handler: PeerHandler | None) -> None:
        self._dial = dial
        self._handler = handler
        self._deliveries = IncomingDeliveries(server_id)
        self._pending: dict[int, ChannelRequest] = {}
        self._outgoing: list[peer_pb2.PeerRequest] = []
        self._wake = asyncio.Event()
        # By channel and member: the last event received that is not told yet.
        self._received: dict[tuple[str, str], int] = {}
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._down_since: float | None = None
        self.is_open = asyncio.Event()
        """Set while the stream is open."""

    def post(self, request: ChannelRequest) -> None:
        """Send a request; its outcome comes once, whatever happens to the stream."""
        if self._closed or len(self._pending) >= _MOST_PENDING:
            request.reply_to.reply(_sequencer_away())
            return
        request_id = next(_request_ids)
        message = peer_pb2.PeerRequest(
            channel_request=peer_pb2.ChannelRequest(
                request_id=request_id,
                channel_id=request.channel_id,
                actor_id=request.actor_id,
                in_log_order=request.reply_to.in_log_order,
            )
        )
        if request.identity is not None:
            message.channel_request.device_id = request.identity.device_id
            message.channel_request.epoch = request.identity.epoch
        action_codec.encode(message.channel_request, request.action)
        self._pending[request_id] = request
        self._say(message)

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """Tell that a member's devices have received events. Lost with a broken stream: the next one says more."""
        if self.is_open.is_set():
            key = channel_id, user_id
            self._received[key] = max(seq, self._received.get(key, 0))
            self._tell_later()

    def was_down_for(self, seconds: float) -> bool:
        """Whether there was a stream once, and there has been none for so many seconds now."""
        return self._down_since is not None and time.monotonic() - self._down_since > seconds

    def close(self) -> None:
        """Refuse all requests that have no outcome yet: the sequencer is gone."""
        self._closed = True
        self._fail()

    async def run(self) -> None:
        """Hold the stream open, until cancelled."""
        delay = _AGAIN_SECONDS[0]
        while True:
            channel = self._dial()
            try:
                await self._converse(channel)
                delay = _AGAIN_SECONDS[0]
            except (aio.AioRpcError, asyncio.InvalidStateError, TimeoutError, ConnectionError) as error:
                _log.info(
                    "a link ended: %s", error.code() if isinstance(error, aio.AioRpcError) else type(error).__name__
                )
                if self.is_open.is_set():
                    delay = _AGAIN_SECONDS[0]
            except Exception as error:
                # Whatever it is, without a link nothing goes to that sequencer any more.
                _log.error("a link failed", exc_info=without_message(error))
            finally:
                if self.is_open.is_set():
                    self._down_since = time.monotonic()
                self.is_open.clear()
                # A request may have been carried out or not. It is made again, and the log knows what it has.
                self._fail()
                await channel.close()
            await asyncio.sleep(delay)
            delay = min(2 * delay, _AGAIN_SECONDS[1])

    async def _converse(self, channel: aio.Channel) -> None:
        method: Any = channel.stream_stream(
            _METHOD,
            request_serializer=peer_pb2.LinkRequest.SerializeToString,
            response_deserializer=peer_pb2.LinkResponse.FromString,
        )
        stream = method()
        async with asyncio.timeout(_OPEN_SECONDS):
            opening = peer_pb2.PeerRequest(open=self._deliveries.opening())
            await stream.write(peer_pb2.LinkRequest(requests=[opening]))
            frame = await stream.read()
        writer = asyncio.create_task(self._write(stream))
        try:
            while frame is not aio.EOF:
                for response in frame.responses:
                    self._take(response)
                frame = await stream.read()
        finally:
            writer.cancel()
            stream.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _take(self, response: peer_pb2.PeerResponse) -> None:
        kind = response.WhichOneof("body")
        handler = self._handler
        if kind == "delivery":
            if handler is not None:
                handler.delivered(response.delivery, self._take_request)
            self._deliveries.received(response.delivery.number)
            self._tell_later()
        elif kind == "channel_result":
            request = self._take_request(response.channel_result.request_id)
            if request is not None:
                request.reply_to.reply(_outcome(response.channel_result))
        elif kind == "opened":
            confirm = self._deliveries.opened(response.opened)
            self.is_open.set()
            self._down_since = None
            self._say(peer_pb2.PeerRequest(confirm=confirm))
            if response.opened.deliveries_lost and handler is not None:
                handler.deliveries_lost()
        elif kind == "ephemeral" and handler is not None:
            handler.ephemeral(response.ephemeral)
        elif kind == "newer_stream" and handler is not None:
            handler.newer_stream(response.newer_stream)

    def _take_request(self, request_id: int) -> ChannelRequest | None:
        return self._pending.pop(request_id, None)

    def _tell_later(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._later = None
        received, self._received = self._received, {}
        self._outgoing += [
            peer_pb2.PeerRequest(received=peer_pb2.Received(channel_id=channel_id, user_id=user_id, seq=seq))
            for (channel_id, user_id), seq in received.items()
        ]
        confirm = self._deliveries.confirmation()
        if confirm is not None:
            self._outgoing.append(peer_pb2.PeerRequest(confirm=confirm))
        self._wake.set()

    def _say(self, message: peer_pb2.PeerRequest) -> None:
        self._outgoing.append(message)
        self._wake.set()

    async def _write(self, stream: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._outgoing and self.is_open.is_set():
                # What is said while a write is under way goes with the next one.
                requests, self._outgoing = self._outgoing, []
                await stream.write(peer_pb2.LinkRequest(requests=requests))
                await asyncio.sleep(WRITE_SECONDS)

    def _fail(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._received.clear()
        pending, self._pending, self._outgoing = self._pending, {}, []
        for request in pending.values():
            request.reply_to.reply(_sequencer_away())


def _sequencer_away() -> Refusal:
    return unavailable("the channel's owner cannot be reached; try again", Reason.OWNER_AWAY, retry_after=0.5)


def _outcome(result: peer_pb2.ChannelResult) -> Outcome:
    if result.WhichOneof("result") == "error":
        error: status_pb2.Status = result.error
        return from_status(error)
    accepted = result.accepted
    created_at_ms = accepted.created_at.ToMilliseconds()
    return Accepted(accepted.channel_id, accepted.seq, accepted.position, created_at_ms)
