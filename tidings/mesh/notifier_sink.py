"""The way to the notifiers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

from google.protobuf.message import Message
from grpc import aio

from tidings.core.errors import unavailable
from tidings.core.limits import PUSH_REQUESTS
from tidings.core.ports import PushSink, Registry
from tidings.core.reasons import Reason
from tidings.core.values import PushRead, PushRequest, Server, ServerKind
from tidings.internal.v1 import push_queue_pb2, push_queue_pb2_grpc

_SECONDS = 5.0


class NotifierSink(PushSink):
    """Hands pushes to any notifier of a registry; to another one when the first does not answer.

    Args:
        registry: Knows the notifiers.
        dial: Makes a channel to an internal endpoint.
    """

    def __init__(self, registry: Registry, dial: Callable[[str], aio.Channel]) -> None:
        self._registry = registry
        self._dial = dial
        self._channels: dict[str, aio.Channel] = {}

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """See `PushSink.enqueue`."""
        for at in range(0, len(requests), PUSH_REQUESTS):
            kept = push_queue_pb2.EnqueueRequest(requests=map(_message, requests[at : at + PUSH_REQUESTS]))
            # Whether one that did not answer has them or not: a push that is queued twice is still one in the queue.
            await self._hand_over("Enqueue", kept)

    async def cancel(self, reads: Sequence[PushRead]) -> None:
        """See `PushSink.cancel`."""
        for at in range(0, len(reads), PUSH_REQUESTS):
            told = push_queue_pb2.CancelRequest(reads=map(_read, reads[at : at + PUSH_REQUESTS]))
            await self._hand_over("Cancel", told)

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            await channel.close()

    async def _hand_over(self, method: Literal["Enqueue", "Cancel"], request: Message) -> None:
        servers = list(self._registry.servers(ServerKind.NOTIFIER))
        random.shuffle(servers)
        for server in servers:
            try:
                await getattr(self._stub(server), method)(request, timeout=_SECONDS)
            except aio.AioRpcError:
                continue
            return
        raise unavailable("no notifier answers", Reason.NOTIFIER_AWAY)

    def _stub(self, server: Server) -> push_queue_pb2_grpc.PushQueueServiceStub:
        channel = self._channels.get(server.internal)
        if channel is None:
            channel = self._channels[server.internal] = self._dial(server.internal)
        return push_queue_pb2_grpc.PushQueueServiceStub(channel)


def _read(read: PushRead) -> push_queue_pb2.PushRead:
    return push_queue_pb2.PushRead(user_id=read.user_id, channel_id=read.channel_id, upto_seq=read.upto_seq)


def _message(request: PushRequest) -> push_queue_pb2.PushRequest:
    message = push_queue_pb2.PushRequest(
        user_id=request.user_id,
        channel_id=request.channel_id,
        seq=request.seq,
        sender_id=request.sender_id,
        preview=request.preview,
    )
    message.created_at.FromMilliseconds(request.created_at_ms)
    return message
