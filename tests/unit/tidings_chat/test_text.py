"""Texts to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from tidings_chat.text import day, explain
from tidings_client import TidingsError
from tidings_client._errors import FieldViolation, refusal


def test_days_are_said_as_people_say_them() -> None:
    today = datetime(2026, 3, 1, tzinfo=UTC).date()
    said = [day(today - timedelta(days=ago), today) for ago in (0, 1, 2, 60)]
    assert said == ["Today", "Yesterday", "Friday, 27 February", "Wednesday, 31 December 2025"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TidingsError(grpc.StatusCode.UNAVAILABLE, "ipv4:127.0.0.1:1: Connection refused"), "cannot be reached"),
        (TidingsError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), "does not answer"),
        (refusal(grpc.StatusCode.PERMISSION_DENIED, "no", reason="BLOCKED"), "blocked the other"),
        (
            refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "device_name: has 99 characters",
                violations=[FieldViolation("device_name", "has 99 characters, at most 64 are allowed")],
            ),
            "device name has 99 characters",
        ),
        (TidingsError(grpc.StatusCode.ALREADY_EXISTS, "the username ana is taken."), "the username ana is taken"),
        (TidingsError(grpc.StatusCode.INTERNAL, ""), "internal"),
    ],
)
def test_errors_are_put_in_words(error: TidingsError, words: str) -> None:
    assert words in explain(error)
