"""The gRPC edge of the notifier, for the other services."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from tidings.core.errors import invalid
from tidings.core.limits import PUSH_PREVIEW_CHARACTERS, PUSH_REQUESTS, check_text
from tidings.core.ports import PushSink
from tidings.core.values import PushRead, PushRequest
from tidings.internal.v1 import push_queue_pb2, push_queue_pb2_grpc

# Engines keep numbers of 64 bits with a sign.
_LARGEST_SEQ = (1 << 63) - 1


class PushQueueService(push_queue_pb2_grpc.PushQueueServiceServicer):
    """See push_queue.proto.

    Args:
        sink: Keeps the requests.
    """

    def __init__(self, sink: PushSink) -> None:
        self._sink = sink

    async def Enqueue(
        self, request: push_queue_pb2.EnqueueRequest, context: aio.ServicerContext[Any, Any]
    ) -> push_queue_pb2.EnqueueResponse:
        """See PushQueueService.Enqueue."""
        _check_count("requests", len(request.requests))
        await self._sink.enqueue([_request(index, each) for index, each in enumerate(request.requests)])
        return push_queue_pb2.EnqueueResponse()

    async def Cancel(
        self, request: push_queue_pb2.CancelRequest, context: aio.ServicerContext[Any, Any]
    ) -> push_queue_pb2.CancelResponse:
        """See PushQueueService.Cancel."""
        _check_count("reads", len(request.reads))
        await self._sink.cancel([_read(index, each) for index, each in enumerate(request.reads)])
        return push_queue_pb2.CancelResponse()


def _check_count(field: str, count: int) -> None:
    if count > PUSH_REQUESTS:
        raise invalid(field, f"are {count:,}, at most {PUSH_REQUESTS:,} are allowed", limit=PUSH_REQUESTS, actual=count)


def _check_seq(field: str, seq: int) -> None:
    if not 0 < seq <= _LARGEST_SEQ:
        raise invalid(field, "must name an event, beginning with 1", limit=_LARGEST_SEQ, actual=seq)


def _milliseconds(field: str, time: Timestamp) -> int:
    try:
        return time.ToMilliseconds()
    except ValueError as error:
        raise invalid(field, str(error)) from None


def _read(index: int, message: push_queue_pb2.PushRead) -> PushRead:
    _check_seq(f"reads[{index}].upto_seq", message.upto_seq)
    return PushRead(message.user_id, message.channel_id, message.upto_seq)


def _request(index: int, message: push_queue_pb2.PushRequest) -> PushRequest:
    field = f"requests[{index}]"
    _check_seq(f"{field}.seq", message.seq)
    check_text(f"{field}.preview", message.preview, PUSH_PREVIEW_CHARACTERS, least=0)
    return PushRequest(
        message.user_id,
        message.channel_id,
        message.seq,
        message.sender_id,
        message.preview,
        _milliseconds(f"{field}.created_at", message.created_at),
    )
