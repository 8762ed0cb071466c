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
    """What is wrong with one field of a request."""

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
        metadata: More for programs: the limit and the value, say.
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
    """INVALID_ARGUMENT for one field; `metadata` carries the limit and the value where there are such."""
    return Refusal(
        Code.INVALID_ARGUMENT,
        f"{field_name}: {description}",
        reason=Reason.INVALID_FIELD,
        violations=(FieldViolation(field_name, description),),
        metadata={key: str(value) for key, value in metadata.items()},
    )


def not_found(what: str, field_name: str = "") -> Refusal:
    """NOT_FOUND, for what does not exist and, in the same words, for what the caller may not see."""
    violations = (FieldViolation(field_name, f"no such {what}"),) if field_name else ()
    return Refusal(Code.NOT_FOUND, f"no such {what}", reason=Reason.NOT_FOUND, violations=violations)


def unauthenticated(message: str, reason: Reason) -> Refusal:
    """UNAUTHENTICATED."""
    return Refusal(Code.UNAUTHENTICATED, message, reason=reason)


def precondition(message: str, reason: Reason, **metadata: object) -> Refusal:
    """FAILED_PRECONDITION; `metadata` carries the limit and the value where there are such."""
    return Refusal(
        Code.FAILED_PRECONDITION,
        message,
        reason=reason,
        metadata={key: str(value) for key, value in metadata.items()},
    )


def denied(message: str, reason: Reason) -> Refusal:
    """PERMISSION_DENIED."""
    return Refusal(Code.PERMISSION_DENIED, message, reason=reason)


def too_fast(what: str, retry_after: float) -> Refusal:
    """RESOURCE_EXHAUSTED with the seconds after which to try again."""
    return Refusal(
        Code.RESOURCE_EXHAUSTED,
        f"too many {what}; try again in {retry_after:.1f} s",
        reason=Reason.RATE_LIMITED,
        retry_after=retry_after,
    )


def unavailable(message: str, reason: Reason, retry_after: float = 1.0) -> Refusal:
    """UNAVAILABLE with the seconds after which to try again."""
    return Refusal(Code.UNAVAILABLE, message, reason=reason, retry_after=retry_after)


def without_message(error: BaseException) -> BaseException:
    """The class and the place of an exception, for `exc_info`.

    What an exception says may hold a text or a secret, and those never reach a log.
    """
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
