"""`PeerService`: requests of other servers to the channels that this one sequences."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from chat_server.channels.local import LocalChannels
from tidings.core.actions import AddMembers, Aside, CreateChannel, Refresh
from tidings.core.errors import Code, Refusal
from tidings.core.ids import check_id
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest
from tidings.core.values import Identity
from tidings.internal.v1 import peer_pb2
from tidings.mesh import action_codec
from tidings.mesh.peer_link import WRITE_SECONDS
from tidings.mesh.peer_outbox import PeerOutbox, PeerReply, Peers
from tidings.rpc.tasks import Turns

Context = aio.ServicerContext[peer_pb2.LinkRequest, bytes]


class PeerService:
    """The service on the internal listener of one chat server.

    Args:
        channels: Carry out the requests.
        peers: Hold what goes back.
    """

    def __init__(self, channels: LocalChannels, peers: Peers) -> None:
        self._channels = channels
        self._peers = peers
        self._turns = Turns()

    def add_to(self, server: aio.Server) -> None:
        """Register the service. The responses are encoded already."""
        name = peer_pb2.DESCRIPTOR.services_by_name["PeerService"].full_name
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self.Link, request_deserializer=peer_pb2.LinkRequest.FromString
        )
        server.add_registered_method_handlers(name, {"Link": handler})

    async def Link(self, _: Any, context: Context) -> None:
        """See peer.proto."""
        first: Any = await context.read()
        if first is aio.EOF or not first.requests or not first.requests[0].HasField("open"):
            raise Refusal(Code.FAILED_PRECONDITION, "the first request must be Open", reason=Reason.OPEN_MISSING)
        opening = first.requests[0].open
        if opening.server_id:
            check_id("open.server_id", opening.server_id)
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
            turn = self._turns.begin()
            for request in frame.requests:
                self._obey(outbox, request)
                await turn.pass_on()
            frame = await context.read()

    def _obey(self, outbox: PeerOutbox, request: peer_pb2.PeerRequest) -> None:
        kind = request.WhichOneof("body")
        if kind == "channel_request":
            self._post(outbox, request.channel_request)
        elif kind == "confirm":
            outbox.confirm(request.confirm.number)
        elif kind == "received":
            received = request.received
            # Nobody waits for an answer. What names no channel is not looked up.
            with contextlib.suppress(Refusal):
                check_id("channel_id", received.channel_id)
                check_id("user_id", received.user_id)
                self._channels.received(received.channel_id, received.user_id, received.seq)

    def _post(self, outbox: PeerOutbox, message: peer_pb2.ChannelRequest) -> None:
        reply = PeerReply(outbox, message.request_id, message.in_log_order)
        try:
            check_id("channel_id", message.channel_id)
            action = action_codec.decode(message)
            # Nobody makes a Refresh: a server does, for a change that is in no log.
            if not isinstance(action, Refresh):
                check_id("actor_id", message.actor_id)
            if isinstance(action, CreateChannel | AddMembers):
                for each in action.member_ids:
                    check_id("member_ids", each)
        except Refusal as refusal:
            reply.reply(refusal)
            return
        device_id, epoch = message.device_id, message.epoch
        identity = Identity(message.actor_id, device_id, math.inf, epoch) if device_id else None
        request = ChannelRequest(message.channel_id, message.actor_id, action, reply, identity)
        if isinstance(action, Aside):
            self._channels.aside(request)
        else:
            self._channels.post(request)


async def _write(outbox: PeerOutbox, wake: Callable[[], None], ready: asyncio.Event, context: Context) -> None:
    """Write whatever has gathered, until another stream takes the place of this one."""
    while True:
        await ready.wait()
        ready.clear()
        if not outbox.is_attached(wake):
            return
        frame = outbox.take()
        if frame:
            await context.write(frame)
            await asyncio.sleep(WRITE_SECONDS)
