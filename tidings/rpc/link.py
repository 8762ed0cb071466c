"""The stream to one owner of channels, from the side that asks: it reconnects, and knows what is not answered yet."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from google.rpc import status_pb2
from grpc import aio

from tidings.core.actions import Accepted, Action, Aside
from tidings.core.errors import Refusal, unavailable
from tidings.core.failures import without_message
from tidings.internal.v1 import peer_pb2
from tidings.rpc import asks
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
# too. A member who acknowledges every frame of a busy channel is ten calls a second at most.
_LATER_SECONDS = 0.1
# What may wait for an owner before more is refused.
_MOST_PENDING = 20_000

# Unique over all links of this process: deliveries of an earlier stream may still name them.
_ask_ids = itertools.count(1)

Outcome = Accepted | Refusal


@dataclass(slots=True, eq=False)
class Question:
    """Something asked of a channel's owner."""

    channel_id: str
    actor_id: str
    action: Action | Aside
    answer: Callable[[Outcome], None]
    in_place: bool = False
    """Whether a session asks, which is answered in the event's place."""
    maker: object = None
    """What the listener knows the session and its command by."""


class Listener(Protocol):
    """What a server with sessions does with what the owners send."""

    def delivered(self, delivery: peer_pb2.Delivery, asked: Callable[[int], Question | None]) -> None:
        """New entries; `asked` takes out the question with an id, which is answered by its entry."""

    def news(self, news: peer_pb2.News) -> None:
        """Receipts, typing."""

    def newer(self, newer: peer_pb2.Newer) -> None:
        """A device has a stream at the server that says so, and an older one here, maybe."""

    def missed(self) -> None:
        """Deliveries were lost: sessions have to catch up from their inboxes."""


class Link:
    """Asks one owner."""

    def __init__(self, dial: Callable[[], aio.Channel], server_id: str, listener: Listener | None) -> None:
        """Nothing is connected before `run`.

        Args:
            dial: Makes a channel to the owner's internal listener.
            server_id: Whose sessions events are for; empty for a server without.
            listener: Takes the events; None for a server without sessions.
        """
        self._dial = dial
        self._server_id = server_id
        self._listener = listener
        self._pending: dict[int, Question] = {}
        self._outgoing: list[peer_pb2.Call] = []
        self._wake = asyncio.Event()
        self._life = ""
        self._confirmed = 0
        self._told = 0
        # By channel and member: the last event received that is not told yet.
        self._received: dict[tuple[str, str], int] = {}
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._down_since: float | None = None
        self.is_open = asyncio.Event()
        """Set while the stream is open."""

    def ask(self, question: Question) -> None:
        """Asks; the answer comes once, whatever happens to the stream."""
        if self._closed or len(self._pending) >= _MOST_PENDING:
            question.answer(_gone())
            return
        ask_id = next(_ask_ids)
        call = peer_pb2.Call(
            ask=peer_pb2.Ask(
                ask_id=ask_id,
                channel_id=question.channel_id,
                actor_id=question.actor_id,
                in_place=question.in_place,
            )
        )
        asks.encode(call.ask, question.action)
        self._pending[ask_id] = question
        self._say(call)

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """A member's devices have received events. Lost with a broken stream: the next one says more."""
        if self.is_open.is_set():
            key = channel_id, user_id
            self._received[key] = max(seq, self._received.get(key, 0))
            self._tell_later()

    def was_down_for(self, seconds: float) -> bool:
        """Whether there was a stream once, and none for so many seconds now."""
        return self._down_since is not None and time.monotonic() - self._down_since > seconds

    def close(self) -> None:
        """The owner is gone: whatever was asked is answered with UNAVAILABLE."""
        self._closed = True
        self._fail()

    async def run(self) -> None:
        """Holds the stream open, until cancelled."""
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
                # Whatever it is, without a link nothing goes to that owner any more.
                _log.error("a link failed", exc_info=without_message(error))
            finally:
                if self.is_open.is_set():
                    self._down_since = time.monotonic()
                self.is_open.clear()
                # What was asked may have been done or not. Who asked asks again, and the log knows what it has.
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
        opening = peer_pb2.Open(server_id=self._server_id, confirmed=self._confirmed, life=self._life)
        async with asyncio.timeout(_OPEN_SECONDS):
            await stream.write(peer_pb2.LinkRequest(calls=[peer_pb2.Call(open=opening)]))
            frame = await stream.read()
        writer = asyncio.create_task(self._write(stream))
        try:
            while frame is not aio.EOF:
                for reply in frame.replies:
                    self._take(reply)
                frame = await stream.read()
        finally:
            writer.cancel()
            stream.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _take(self, reply: peer_pb2.Reply) -> None:
        kind = reply.WhichOneof("body")
        if kind == "delivery":
            if self._listener is not None:
                self._listener.delivered(reply.delivery, self._take_out)
            self._confirm(reply.delivery.number)
        elif kind == "answer":
            question = self._take_out(reply.answer.ask_id)
            if question is not None:
                question.answer(_outcome(reply.answer))
        elif kind == "news":
            if self._listener is not None:
                self._listener.news(reply.news)
        elif kind == "newer":
            if self._listener is not None:
                self._listener.newer(reply.newer)
        elif kind == "opened":
            if self._life != reply.opened.life:
                self._confirmed = 0
            # The opening has told it.
            self._told = self._confirmed
            self._life = reply.opened.life
            self.is_open.set()
            self._down_since = None
            # Says also that it has read whether something was missed.
            self._say(peer_pb2.Call(confirm=peer_pb2.Confirm(number=self._confirmed)))
            if reply.opened.missed and self._listener is not None:
                self._listener.missed()

    def _take_out(self, ask_id: int) -> Question | None:
        return self._pending.pop(ask_id, None)

    def _confirm(self, number: int) -> None:
        self._confirmed = number
        self._tell_later()

    def _tell_later(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._later = None
        received, self._received = self._received, {}
        self._outgoing += [
            peer_pb2.Call(received=peer_pb2.Received(channel_id=channel_id, user_id=user_id, seq=seq))
            for (channel_id, user_id), seq in received.items()
        ]
        if self._confirmed != self._told:
            self._told = self._confirmed
            self._outgoing.append(peer_pb2.Call(confirm=peer_pb2.Confirm(number=self._confirmed)))
        self._wake.set()

    def _say(self, call: peer_pb2.Call) -> None:
        self._outgoing.append(call)
        self._wake.set()

    async def _write(self, stream: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._outgoing and self.is_open.is_set():
                # What is said while a write is under way goes with the next one.
                calls, self._outgoing = self._outgoing, []
                await stream.write(peer_pb2.LinkRequest(calls=calls))
                await asyncio.sleep(WRITE_SECONDS)

    def _fail(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._received.clear()
        pending, self._pending, self._outgoing = self._pending, {}, []
        for question in pending.values():
            question.answer(_gone())


def _gone() -> Refusal:
    return unavailable("the channel's owner cannot be reached; try again", "OWNER_AWAY", retry_after=0.5)


def _outcome(answer: peer_pb2.Answer) -> Outcome:
    if answer.WhichOneof("result") == "error":
        error: status_pb2.Status = answer.error
        return from_status(error)
    accepted = answer.accepted
    return Accepted(accepted.channel_id, accepted.seq, accepted.position)
