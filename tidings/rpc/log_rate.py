"""How much is logged of what clients provoke: a line a second of each kind, and nothing of what they sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from time import monotonic

from grpc import aio

from tidings.core.errors import without_message

_SECONDS = 1.0
_MOST_KINDS = 1_000
_LIBRARIES = ("grpc._cython.cygrpc", "asyncio")
_PLACEHOLDER = re.compile(r"%[-#0-9.]*[a-z]")


class LogRate:
    """Lets one line a second of each kind through."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def unsaid(self, kind: Hashable) -> int | None:
        """Count a line.

        Returns:
            How many of its kind were left out since the last one; None when this one is to be left out as well.
        """
        now = monotonic()
        last, unsaid = self._kinds.get(kind, (-_SECONDS, 0))
        if now - last < _SECONDS:
            self._kinds[kind] = last, unsaid + 1
            return None
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = now, 0
        return unsaid


class LibraryLogFilter(logging.Filter):
    """Keeps what clients sent out of what gRPC and asyncio log, and lets one line a second of each kind through.

    gRPC logs metadata that are not UTF-8, access tokens among them, and asyncio the arguments of callbacks and the
    messages of exceptions.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rate = LogRate()

    def filter(self, record: logging.LogRecord) -> bool:
        """Take from a record all but its first words and its traceback; False when it is not to be logged."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, aio.InternalError):
            # What was to be written could not be, since the client is gone, which is no fault.
            return False
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        text = _PLACEHOLDER.sub("…", text.partition("\n")[0].partition("(")[0])
        unsaid = self._rate.unsaid((record.name, text))
        if unsaid is None:
            return False
        record.msg, record.args = (f"{text} [{unsaid:,} more since the last such line]" if unsaid else text), ()
        if isinstance(error, UnicodeDecodeError):
            # The client's fault, and none that a traceback explains.
            record.exc_info = None
        elif error is not None:
            bare = without_message(error)
            record.exc_info = type(bare), bare, bare.__traceback__
        return True


_filter = LibraryLogFilter()


def guard_library_logs() -> None:
    """Put a `LibraryLogFilter` on the loggers of gRPC and asyncio, once."""
    for name in _LIBRARIES:
        logging.getLogger(name).addFilter(_filter)
