"""Clocks. A clock is handed in where time matters, so that tests need not wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

_SLOWLY = 20
"""The steady time nears the machine's clock by at most one part in so many: 3 s a minute, 72 minutes a day."""


class Clock(Protocol):
    """Tells the time: one for each purpose."""

    def now_ms(self) -> int:
        """Return the steady time, in milliseconds since 1970, UTC: for order, for what runs out, and for what is kept.

        It never goes back and never jumps. When the machine's clock does, it goes on as before, and nears the other
        slowly; so for a while it may be wrong.
        """

    def wall_ms(self) -> int:
        """Return what the machine's clock shows at this moment, in milliseconds since 1970, UTC: for people to read.

        It may jump at any time, back too. Nothing may be decided by it.
        """

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary start; they never go back. For every interval within a process."""


def _awake_and_asleep_ns() -> int:
    # CLOCK_MONOTONIC stands still while a machine sleeps, and its clock would seem to have jumped after that.
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class SystemClock:
    """The machine's clock.

    Args:
        wall_ns: What it shows, in nanoseconds since 1970.
        elapsed_ns: Nanoseconds since an arbitrary start, which never jump.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, elapsed_ns: Callable[[], int] = _awake_and_asleep_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._elapsed_ns = elapsed_ns
        self._steady_ns = wall_ns()
        self._seen_ns = elapsed_ns()

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return self._advance() // 1_000_000

    def wall_ms(self) -> int:
        """See `Clock.wall_ms`."""
        return self._wall_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def ahead_seconds(self) -> float:
        """How far the machine's clock is ahead of the steady time: it has jumped, unless this is near 0."""
        return (self._wall_ns() - self._advance()) / 1e9

    def _advance(self) -> int:
        elapsed = self._elapsed_ns()
        passed = elapsed - self._seen_ns
        self._seen_ns = elapsed
        steady = self._steady_ns + passed
        most = passed // _SLOWLY
        self._steady_ns = steady = steady + max(-most, min(self._wall_ns() - steady, most))
        return steady
