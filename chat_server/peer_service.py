"""`PeerService`: what other servers ask of the channels that this one owns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from chat_server.owned import OwnedChannels
from chat_server.peers import PeerOutbox, Peers
from chat_server.submission import Outcome, Submission
from tidings.core.actions import Refresh, ShowTyping
from tidings.core.errors import Code, Refusal
from tidings.internal.v1 import peer_pb2
from tidings.rpc import asks
from tidings.rpc.link import WRITE_SECONDS

Context = aio.ServicerContext[peer_pb2.LinkRequest, bytes]


class PeerService:
    """The service on the internal listener of one chat server."""

    def __init__(self, channels: OwnedChannels, peers: Peers) -> None:
        """Carries out what is asked on `channels`; `peers` hold what goes back."""
        self._channels = channels
        self._peers = peers

    def add_to(self, server: aio.Server) -> None:
        """Registers the service; what goes back is encoded already."""
        name = peer_pb2.DESCRIPTOR.services_by_name["PeerService"].full_name
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self.Link, request_deserializer=peer_pb2.LinkRequest.FromString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Link": handler}),))

    async def Link(self, _: Any, context: Context) -> None:
        """See peer.proto."""
        first: Any = await context.read()
        if first is aio.EOF or not first.calls or not first.calls[0].HasField("open"):
            raise Refusal(Code.FAILED_PRECONDITION, "the first call must be Open", reason="OPEN_MISSING")
        opening = first.calls[0].open
        outbox = self._peers.outbox(opening.server_id)
        ready = asyncio.Event()
        wake: Callable[[], None] = ready.set
        outbox.attach(opening, wake)
        writer = asyncio.create_task(_write(outbox, wake, ready, context))
        reader = asyncio.create_task(self._read(outbox, first, context))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if outbox.is_attached(wake):
                outbox.detach()
            for task in (reader, writer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aio.BaseError, asyncio.InvalidStateError):
                    await task

    async def _read(self, outbox: PeerOutbox, frame: Any, context: Context) -> None:
        while frame is not aio.EOF:
            for call in frame.calls:
                self._obey(outbox, call)
            frame = await context.read()

    def _obey(self, outbox: PeerOutbox, call: peer_pb2.Call) -> None:
        kind = call.WhichOneof("body")
        if kind == "ask":
            self._ask(outbox, call.ask)
        elif kind == "confirm":
            outbox.confirm(call.confirm.number)
        elif kind == "received":
            self._channels.received(call.received.channel_id, call.received.user_id, call.received.seq)

    def _ask(self, outbox: PeerOutbox, ask: peer_pb2.Ask) -> None:
        def answer(outcome: Outcome) -> None:
            outbox.answer(ask.ask_id, outcome)

        try:
            action = asks.decode(ask)
        except Refusal as refusal:
            answer(refusal)
            return
        if isinstance(action, Refresh | ShowTyping):
            self._channels.aside(ask.channel_id, ask.actor_id, action, answer)
            return
        if ask.in_place:
            submission = Submission(ask.actor_id, action, peer=outbox, ask_id=ask.ask_id)
        else:
            submission = Submission(ask.actor_id, action, answer=answer)
        self._channels.post(ask.channel_id, submission)


async def _write(outbox: PeerOutbox, wake: Callable[[], None], ready: asyncio.Event, context: Context) -> None:
    """Writes whatever has gathered, until another stream takes the place of this one."""
    while True:
        await ready.wait()
        ready.clear()
        if not outbox.is_attached(wake):
            return
        frame = outbox.take()
        if frame:
            await context.write(frame)
            await asyncio.sleep(WRITE_SECONDS)
