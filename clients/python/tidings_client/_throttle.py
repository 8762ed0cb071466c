"""A bound on how often something is done."""

from __future__ import annotations

import math


class Throttle:
    """Decides when to do what is worth doing once for many requests, such as acknowledging.

    It is done soon after it is asked for, and not more often than the interval allows.

    Args:
        interval: The least number of seconds from one time to the next.
        soon: Seconds from the first request to the time, so that requests right behind it are included.
    """

    __slots__ = ("_earliest", "_interval", "_soon", "due")

    def __init__(self, interval: float, soon: float = 0.0) -> None:
        self._interval = interval
        self._soon = soon
        self._earliest = -math.inf
        self.due: float | None = None
        """When to do it, by the clock that `ask` is told; None when nothing is asked for."""

    def ask(self, now: float) -> None:
        """Asks for it to be done."""
        if self.due is None:
            self.due = max(now + self._soon, self._earliest)

    def is_due(self, now: float) -> bool:
        """Whether it is to be done now."""
        return self.due is not None and now >= self.due

    def done(self, now: float) -> None:
        """Notes that it was done, for all requests so far."""
        self.due = None
        self._earliest = now + self._interval

    def forget(self) -> None:
        """Forgets all requests, and the time of the last one done: the next may be at once."""
        self.due = None
        self._earliest = -math.inf
