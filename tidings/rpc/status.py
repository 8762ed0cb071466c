"""Refusals as gRPC statuses with google.rpc details."""

from __future__ import annotations

from typing import NoReturn, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio

from tidings.core.errors import Code, FieldViolation, Refusal
from tidings.rpc.acceptor import call_aborted

DOMAIN = "tidings"
"""The domain in google.rpc.ErrorInfo."""
_DETAILS_KEY = "grpc-status-details-bin"


def _any(
    message: error_details_pb2.BadRequest | error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def to_status(refusal: Refusal) -> status_pb2.Status:
    """Turn a refusal into a google.rpc.Status with BadRequest, ErrorInfo and RetryInfo, as far as it has them."""
    status = status_pb2.Status(code=code_pb2.Code.Value(refusal.code.value), message=refusal.message)
    if refusal.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in refusal.violations:
            bad_request.field_violations.add(
                field=violation.field, description=violation.description, reason=refusal.reason
            )
        status.details.append(_any(bad_request))
    if refusal.reason:
        status.details.append(
            _any(error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=dict(refusal.metadata)))
        )
    if refusal.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(refusal.retry_after * 1e9))
        status.details.append(_any(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def from_status(status: status_pb2.Status) -> Refusal:
    """Turn a google.rpc.Status back into a refusal: one server passes on the refusal of another."""
    refusal = Refusal(Code(code_pb2.Code.Name(status.code)), status.message)
    for packed in status.details:
        bad_request, info, retry = (
            error_details_pb2.BadRequest(),
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RetryInfo(),
        )
        if packed.Unpack(bad_request):
            refusal.violations = tuple(
                FieldViolation(each.field, each.description) for each in bad_request.field_violations
            )
        elif packed.Unpack(info):
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        elif packed.Unpack(retry):
            refusal.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return refusal


class _Abortable(Protocol):
    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, bytes], ...]
    ) -> NoReturn: ...


async def abort(context: _Abortable, refusal: Refusal) -> NoReturn:
    """End a call with a refusal."""
    details = to_status(refusal).SerializeToString()
    try:
        await context.abort(grpc.StatusCode[refusal.code.value], refusal.message, ((_DETAILS_KEY, details),))
    except aio.AbortError as error:
        call_aborted(error)
        raise
