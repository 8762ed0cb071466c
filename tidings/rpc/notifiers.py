"""The way to the notifiers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from grpc import aio

from tidings.core.errors import unavailable
from tidings.core.limits import PUSH_REQUESTS
from tidings.core.ports import PushSink, Registry
from tidings.core.values import PushRequest, Server, ServerKind
from tidings.internal.v1 import push_queue_pb2, push_queue_pb2_grpc

_SECONDS = 5.0


class NotifierSink(PushSink):
    """Hands pushes to any notifier of a registry; to another one when the first does not answer."""

    def __init__(self, registry: Registry, dial: Callable[[str], aio.Channel]) -> None:
        """Finds notifiers in `registry` and reaches their internal endpoints by `dial`."""
        self._registry = registry
        self._dial = dial
        self._channels: dict[str, aio.Channel] = {}

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """See `PushSink.enqueue`."""
        servers = list(self._registry.servers(ServerKind.NOTIFIER))
        random.shuffle(servers)
        for at in range(0, len(requests), PUSH_REQUESTS):
            await self._hand_over(servers, requests[at : at + PUSH_REQUESTS])

    async def close(self) -> None:
        """Closes all connections."""
        for channel in self._channels.values():
            await channel.close()

    async def _hand_over(self, servers: Sequence[Server], requests: Sequence[PushRequest]) -> None:
        message = push_queue_pb2.EnqueueRequest(requests=map(_message, requests))
        for server in servers:
            channel = self._channels.get(server.internal)
            if channel is None:
                channel = self._channels[server.internal] = self._dial(server.internal)
            try:
                await push_queue_pb2_grpc.PushQueueServiceStub(channel).Enqueue(message, timeout=_SECONDS)
            except aio.AioRpcError:
                # Whether it has them or not: a push that is queued twice is still one in the queue.
                continue
            return
        raise unavailable("no notifier answers", "NOTIFIER_AWAY")


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
