"""Statuses as exceptions."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio

from tidings_client._errors import (
    FieldViolation,
    ReplacedError,
    SignedOutError,
    TidingsError,
    from_rpc,
    from_status,
    refusal,
)


def status(code: int, *details: Message, message: str = "no") -> status_pb2.Status:
    made = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        made.details.append(packed)
    return made


def rpc_error(code: grpc.StatusCode, details: str | None, *trailing: tuple[str, bytes]) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details)


FULL = status(
    code_pb2.RESOURCE_EXHAUSTED,
    error_details_pb2.ErrorInfo(reason="TOO_FAST", domain="tidings", metadata={"limit": "30"}),
    error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="text", description="is empty"),
            error_details_pb2.BadRequest.FieldViolation(field="channel_id", description="is empty too"),
        ]
    ),
    error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
    # Something of a later version.
    timestamp_pb2.Timestamp(seconds=1),
)


def check_full(error: TidingsError) -> None:
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.message == "no"
    assert error.reason == "TOO_FAST"
    assert error.metadata == {"limit": "30"}
    assert error.violations == (FieldViolation("text", "is empty"), FieldViolation("channel_id", "is empty too"))
    assert error.retry_after == 1.5
    assert str(error) == "RESOURCE_EXHAUSTED: no"


def test_a_status_with_all_its_details() -> None:
    check_full(from_status(FULL))


def test_a_failed_call_brings_its_details_along() -> None:
    check_full(
        from_rpc(
            rpc_error(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "no",
                ("other", b"thing"),
                ("grpc-status-details-bin", FULL.SerializeToString()),
            )
        )
    )


def test_the_same_refusal_for_somebody_else() -> None:
    error = from_status(FULL)
    replaced = ReplacedError.of(error)
    check_full(replaced)
    assert type(replaced) is ReplacedError
    assert type(SignedOutError.of(error)) is SignedOutError


def test_a_status_without_details_has_only_code_and_sentence() -> None:
    error = from_status(status(code_pb2.NOT_FOUND, message="no such channel"))
    assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, "no such channel")
    assert (error.reason, error.violations, error.retry_after) == ("", (), None)
    assert not error.metadata


def test_a_code_that_nobody_knows_is_unknown() -> None:
    assert from_status(status(99)).code is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize("trailing", [(), (("grpc-status-details-bin", b"\xff\xff\xff"),)])
def test_details_that_are_missing_or_mangled_leave_code_and_sentence(trailing: tuple[tuple[str, bytes], ...]) -> None:
    error = from_rpc(rpc_error(grpc.StatusCode.UNAVAILABLE, "away", *trailing))
    assert (error.code, error.message) == (grpc.StatusCode.UNAVAILABLE, "away")


def test_a_call_that_failed_without_a_word_has_an_empty_sentence() -> None:
    assert from_rpc(rpc_error(grpc.StatusCode.UNAVAILABLE, None)).message == ""


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (refusal(grpc.StatusCode.UNAVAILABLE, "no"), True),
        (refusal(grpc.StatusCode.ABORTED, "no"), True),
        (refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much"), False),
        (from_status(FULL), True),
        (refusal(grpc.StatusCode.INVALID_ARGUMENT, "no"), False),
        (refusal(grpc.StatusCode.PERMISSION_DENIED, "no"), False),
        (refusal(grpc.StatusCode.NOT_FOUND, "no"), False),
        (refusal(grpc.StatusCode.INTERNAL, "no"), False),
    ],
)
def test_what_passes_by_itself(error: TidingsError, passes: bool) -> None:
    assert error.is_transient is passes


def test_a_refusal_of_the_librarys_own() -> None:
    error = refusal(
        grpc.StatusCode.INVALID_ARGUMENT, "text: long", reason="INVALID_FIELD", violations=[FieldViolation("text", "l")]
    )
    assert (error.reason, error.violations) == ("INVALID_FIELD", (FieldViolation("text", "l"),))


@pytest.mark.parametrize("name", ["BadRequest", "ErrorInfo", "RetryInfo", "Unheard"])
def test_details_that_do_not_parse_leave_the_others(name: str) -> None:
    mangled = any_pb2.Any(type_url=f"type.googleapis.com/google.rpc.{name}", value=b"\xff\xff\xff")
    whole = any_pb2.Any()
    whole.Pack(error_details_pb2.BadRequest(field_violations=[{"field": "text", "description": "long"}]))
    error = from_status(status_pb2.Status(code=3, message="no", details=[mangled, whole]))
    assert (error.code, error.message) == (grpc.StatusCode.INVALID_ARGUMENT, "no")
    assert error.violations == (FieldViolation("text", "long"),)


@pytest.mark.parametrize(("seconds", "waits"), [(10**11, 3600.0), (-(10**11), 0.0), (2, 2.0)])
def test_no_server_makes_a_client_wait_for_ever_or_not_at_all(seconds: int, waits: float) -> None:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds)))
    assert from_status(status_pb2.Status(code=14, details=[packed])).retry_after == waits


def test_what_is_printed_of_an_error_commands_no_terminal_and_no_log() -> None:
    error = TidingsError(grpc.StatusCode.INTERNAL, "a\x1b[2J\nINFO all is well\u202e")
    assert str(error) == "INTERNAL: a\ufffd[2J\ufffdINFO all is well\ufffd"
