"""How anything in tidings says no: a code, a sentence, and details that a program can act on."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidings.core.reasons import Reason


class Code(enum.Enum):
    """The gRPC status codes that tidings answers with, by their gRPC names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A fault of one field of a request."""

    field: str
    description: str


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - the field's word for an answer of no, which is no malfunction
    """A clear no.

    Args:
        code: The status code.
        message: One sentence for people.
        reason: A word in capitals for programs, as in google.rpc.ErrorInfo.
        violations: The fields at fault.
        metadata: More for programs, such as the limit and the value.
        retry_after: Seconds after which trying again makes sense; None when it does not.
    """

    code: Code
    message: str
    reason: str = ""
    violations: tuple[FieldViolation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message


def invalid(field_name: str, description: str, **metadata: object) -> Refusal:
    """Make a refusal of one field with INVALID_ARGUMENT; `metadata` may carry the limit and the value."""
    return Refusal(
        Code.INVALID_ARGUMENT,
        f"{field_name}: {description}",
        reason=Reason.INVALID_FIELD,
        violations=(FieldViolation(field_name, description),),
        metadata={key: str(value) for key, value in metadata.items()},
    )


def not_found(what: str, field_name: str = "") -> Refusal:
    """Make a refusal with NOT_FOUND, in the same words for a thing that does not exist and one that is not visible."""
    violations = (FieldViolation(field_name, f"no such {what}"),) if field_name else ()
    return Refusal(Code.NOT_FOUND, f"no such {what}", reason=Reason.NOT_FOUND, violations=violations)


def unauthenticated(message: str, reason: Reason) -> Refusal:
    """Make a refusal with UNAUTHENTICATED."""
    return Refusal(Code.UNAUTHENTICATED, message, reason=reason)


def device_revoked() -> Refusal:
    """Make a refusal with UNAUTHENTICATED for a device that has been signed out."""
    return unauthenticated("the device has been signed out", Reason.DEVICE_REVOKED)


def precondition(message: str, reason: Reason, **metadata: object) -> Refusal:
    """Make a refusal with FAILED_PRECONDITION; `metadata` may carry the limit and the value."""
    return Refusal(
        Code.FAILED_PRECONDITION,
        message,
        reason=reason,
        metadata={key: str(value) for key, value in metadata.items()},
    )


def denied(message: str, reason: Reason) -> Refusal:
    """Make a refusal with PERMISSION_DENIED."""
    return Refusal(Code.PERMISSION_DENIED, message, reason=reason)


def too_fast(what: str, retry_after: float, **metadata: str) -> Refusal:
    """Make a refusal with RESOURCE_EXHAUSTED and the seconds after which to try again; see `precondition` for more."""
    return Refusal(
        Code.RESOURCE_EXHAUSTED,
        f"too many {what}; try again in {retry_after:.1f} s",
        reason=Reason.RATE_LIMITED,
        metadata=metadata,
        retry_after=retry_after,
    )


def unavailable(message: str, reason: Reason, retry_after: float = 1.0) -> Refusal:
    """Make a refusal with UNAVAILABLE and the seconds after which to try again."""
    return Refusal(Code.UNAVAILABLE, message, reason=reason, retry_after=retry_after)


def without_message(error: BaseException) -> BaseException:
    """Return an exception with the class and the place of another one but without its message, for `exc_info`.

    The message of an exception may hold a text or a secret, which must never reach a log.
    """
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
