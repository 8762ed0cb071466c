"""When to do what is worth doing for many things at once: acknowledge, save."""

from __future__ import annotations

import math


class Throttle:
    """Lets something happen soon after it is asked for, but no more often than every so many seconds."""

    __slots__ = ("_earliest", "_interval", "_soon", "due")

    def __init__(self, interval: float, soon: float = 0.0) -> None:
        """Nothing is asked for yet.

        Args:
            interval: Seconds between two times, at least.
            soon: Seconds from the first asking to the time, so that what comes right behind it is included.
        """
        self._interval = interval
        self._soon = soon
        self._earliest = -math.inf
        self.due: float | None = None
        """When to do it, by the clock that `ask` is told; None when nobody asks."""

    def ask(self, now: float) -> None:
        """There is a reason to do it."""
        if self.due is None:
            self.due = max(now + self._soon, self._earliest)

    def is_due(self, now: float) -> bool:
        """Whether to do it now."""
        return self.due is not None and now >= self.due

    def done(self, now: float) -> None:
        """It was done, for every reason there was."""
        self.due = None
        self._earliest = now + self._interval

    def forget(self) -> None:
        """Nobody asks any more, and the next time may be at once."""
        self.due = None
        self._earliest = -math.inf
