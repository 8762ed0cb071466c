"""Texts to show: texts of others made safe, and errors and times put in words."""

from __future__ import annotations

import re
from datetime import date

import grpc

from tidings.v1 import errors_pb2
from tidings_client import TidingsError, reason_word

# Control characters would reach the terminal as commands; bidirectional ones would reorder what stands beside them.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TAB = "    "


def clean(text: str) -> str:
    """Removes from a text of others what a terminal would obey instead of show."""
    return _CONTROLS.sub("�", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", _TAB))


def clean_line(text: str) -> str:
    """Cleans a text and puts it on one line, for names and titles."""
    return clean(text).replace("\n", " ")


def explain(error: TidingsError) -> str:
    """Puts an error into a sentence without a full stop."""
    match error.code:
        case grpc.StatusCode.UNAVAILABLE:
            return "the server cannot be reached"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return "the server does not answer"
        case _:
            pass
    if error.reason == reason_word(errors_pb2.ERROR_REASON_BLOCKED):
        return "one of you has blocked the other"
    if error.code is grpc.StatusCode.INVALID_ARGUMENT and error.violations:
        return clean_line("; ".join(f"{_field(each.field)} {each.description}" for each in error.violations))
    return clean_line(error.message).rstrip(".") or error.code.name.lower().replace("_", " ")


def _field(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def day(day: date, today: date) -> str:
    """Names a day as people do."""
    ago = (today - day).days
    if ago == 0:
        return "Today"
    if ago == 1:
        return "Yesterday"
    words = f"{day:%A}, {day.day} {day:%B}"
    return words if day.year == today.year else f"{words} {day.year}"


def joined(names: list[str]) -> str:
    """Joins names for a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, one: str, many: str = "") -> str:
    """Puts a number before the name of what is counted."""
    return f"{number} {one if number == 1 else many or one + 's'}"
