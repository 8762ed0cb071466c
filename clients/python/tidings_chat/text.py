"""Errors, times, names and numbers put in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import grpc

from tidings.v1 import errors_pb2
from tidings_chat.shown import ShownLine
from tidings_client import TidingsError, reason_word


def explain(error: TidingsError) -> ShownLine:
    """Puts an error into a sentence without a full stop."""
    match error.code:
        case grpc.StatusCode.UNAVAILABLE:
            return ShownLine("the server cannot be reached")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ShownLine("the server does not answer")
        case _:
            pass
    if error.reason == reason_word(errors_pb2.ERROR_REASON_BLOCKED):
        return ShownLine("one of you has blocked the other")
    if error.code is grpc.StatusCode.INVALID_ARGUMENT and error.violations:
        return ShownLine("; ".join(f"{_field(each.field)} {each.description}" for each in error.violations))
    words = ShownLine(error.message).rstrip(". ")
    return ShownLine(words or error.code.name.lower().replace("_", " "))


def _field(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def day(day: date, today: date) -> ShownLine:
    """Names a day as people do."""
    ago = (today - day).days
    if ago == 0:
        return ShownLine("Today")
    if ago == 1:
        return ShownLine("Yesterday")
    words = f"{day:%A}, {day.day} {day:%B}"
    return ShownLine(words if day.year == today.year else f"{words} {day.year}")


def joined(names: Sequence[str]) -> str:
    """Joins names for a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, one: str, many: str = "") -> str:
    """Puts a number before the name of what is counted."""
    return f"{number} {one if number == 1 else many or one + 's'}"
