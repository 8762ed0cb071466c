"""The reader of an IRC channel's log: `[HH:MM] <nick> text`, one message a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tidings_replay.errors import ReplayError

# An action (`[HH:MM]  * nick waves`) is something done, not said, and what begins with `===` is the server's notice.
_MESSAGE = re.compile(r"\[\d\d:\d\d\] <(?P<nick>[^\s>]+)> (?P<text>.*\S.*)")


@dataclass(frozen=True, slots=True)
class IrcLine:
    """One message of the log."""

    nick: str
    text: str


def parse(log: str) -> list[IrcLine]:
    """Gives the messages of a log, in order, without actions, notices and empty messages."""
    # Not splitlines, which takes some characters that a text may hold for the end of a line.
    matches = (_MESSAGE.fullmatch(line.removesuffix("\r")) for line in log.split("\n"))
    return [IrcLine(match["nick"], match["text"]) for match in matches if match]


def read(path: Path) -> list[IrcLine]:
    """Reads the messages of a file, in order; there is at least one.

    Args:
        path: The file, in UTF-8; bytes that are not UTF-8 are replaced.

    Raises:
        ReplayError: The file cannot be read, or is no such log.
    """
    try:
        log = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error
    lines = parse(log)
    if not lines:
        raise ReplayError(f"{path} is not a channel log: no line of it reads [HH:MM] <nick> text")
    return lines
