"""The gRPC edge of the notifier, for the other services."""

from __future__ import annotations

from typing import Any

from grpc import aio

from tidings.core.errors import invalid
from tidings.core.limits import PUSH_PREVIEW_CHARACTERS, PUSH_REQUESTS, check_text
from tidings.core.ports import PushSink
from tidings.core.values import PushRequest
from tidings.internal.v1 import push_queue_pb2, push_queue_pb2_grpc


class PushQueueService(push_queue_pb2_grpc.PushQueueServiceServicer):
    """See push_queue.proto."""

    def __init__(self, sink: PushSink) -> None:
        """Hands requests to `sink`."""
        self._sink = sink

    async def Enqueue(
        self, request: push_queue_pb2.EnqueueRequest, context: aio.ServicerContext[Any, Any]
    ) -> push_queue_pb2.EnqueueResponse:
        """See PushQueueService.Enqueue."""
        count = len(request.requests)
        if count > PUSH_REQUESTS:
            raise invalid(
                "requests", f"are {count:,}, at most {PUSH_REQUESTS:,} are allowed", limit=PUSH_REQUESTS, actual=count
            )
        await self._sink.enqueue([_request(index, each) for index, each in enumerate(request.requests)])
        return push_queue_pb2.EnqueueResponse()


def _request(index: int, message: push_queue_pb2.PushRequest) -> PushRequest:
    field = f"requests[{index}]"
    if not message.user_id:
        raise invalid(f"{field}.user_id", "must not be empty")
    if not message.channel_id:
        raise invalid(f"{field}.channel_id", "must not be empty")
    if message.seq == 0:
        raise invalid(f"{field}.seq", "must name an event, beginning with 1", actual=0)
    check_text(f"{field}.preview", message.preview, PUSH_PREVIEW_CHARACTERS, least=0)
    return PushRequest(
        message.user_id,
        message.channel_id,
        message.seq,
        message.sender_id,
        message.preview,
        message.created_at.ToMilliseconds(),
    )
