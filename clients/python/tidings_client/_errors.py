"""Refusals as Python exceptions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
# A server that asks for more is asked again all the same, some day.
_LONGEST_RETRY_SECONDS = 3600.0
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request, and what is wrong with it."""

    field: str
    description: str


class TidingsError(Exception):
    """A refusal by the server, or by this library in the same form.

    Args:
        code: The gRPC status code.
        message: One sentence for people.
        details: `google.rpc` details, of which BadRequest, ErrorInfo and RetryInfo are understood.

    Attributes:
        code: The gRPC status code.
        message: One sentence for people.
        reason: A word for programs; empty when there is none. Compare it with what `reason_word` gives for a reason of
            `tidings.v1.ErrorReason`, or with a `ClientReason`.
        violations: The fields at fault.
        metadata: More for programs, such as the limit that was passed.
        retry_after: Seconds after which trying again makes sense, at most an hour; None when the server did not say.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: Iterable[any_pb2.Any] = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.reason = ""
        self.violations: tuple[FieldViolation, ...] = ()
        self.metadata: Mapping[str, str] = {}
        self.retry_after: float | None = None
        for packed in details:
            # What something between the server and here has mangled is left out; the code and the sentence are left.
            with contextlib.suppress(DecodeError):
                self._read(packed)

    def __str__(self) -> str:
        # It ends up in logs and on terminals, which would obey what is not to be printed.
        message = "".join(each if each.isprintable() else "\ufffd" for each in self.message)
        return f"{self.code.name}: {message}"

    @property
    def is_transient(self) -> bool:
        """Whether the same request may well be granted a little later."""
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            # A rate limit says when to come back; a quota does not.
            return self.retry_after is not None
        return self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)

    @classmethod
    def of(cls, error: TidingsError) -> Self:
        """Makes the same refusal as an instance of this class."""
        made = cls(error.code, error.message)
        made.reason = error.reason
        made.violations = error.violations
        made.metadata = error.metadata
        made.retry_after = error.retry_after
        return made

    def _read(self, packed: any_pb2.Any) -> None:
        bad_request = error_details_pb2.BadRequest()
        error_info = error_details_pb2.ErrorInfo()
        retry_info = error_details_pb2.RetryInfo()
        if packed.Unpack(bad_request):
            self.violations = tuple(
                FieldViolation(each.field, each.description) for each in bad_request.field_violations
            )
        elif packed.Unpack(error_info):
            self.reason = error_info.reason
            self.metadata = dict(error_info.metadata)
        elif packed.Unpack(retry_info):
            delay = retry_info.retry_delay.ToNanoseconds() / 1e9
            self.retry_after = min(max(0.0, delay), _LONGEST_RETRY_SECONDS)


class SignedOutError(TidingsError):
    """The device's sign-in has ended (logged out, revoked, password changed elsewhere): log in again."""


class ReplacedError(TidingsError):
    """The same device opened a newer stream elsewhere, and this one ended for it."""


def refusal(
    code: grpc.StatusCode, message: str, *, reason: str = "", violations: Sequence[FieldViolation] = ()
) -> TidingsError:
    """Makes a refusal of this library's own."""
    error = TidingsError(code, message)
    error.reason = reason
    error.violations = tuple(violations)
    return error


def from_status(status: status_pb2.Status) -> TidingsError:
    """Makes the error that a `google.rpc.Status` stands for."""
    return TidingsError(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status.details)


def from_rpc(error: grpc.aio.AioRpcError) -> TidingsError:
    """Makes the error that a failed call stands for, with the details from its trailing metadata."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                # Something between the server and here mangled the details; the code and the sentence are left.
                break
    return TidingsError(error.code(), error.details() or "")
