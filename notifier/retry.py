"""When a push that failed is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, for a number of attempts.

    Half of each delay is fixed, so that a provider in trouble is left alone for a while; the other half is drawn, so
    that those who failed together do not come back together. The defaults give up after about 80 minutes.

    Args:
        attempts: How many there are.
        first: The longest first delay, in seconds; it doubles with each attempt.
        longest: What it stops doubling at, in seconds.
        draw: Gives a number from 0 to 1.
    """

    attempts: int = 16
    first: float = 2.0
    longest: float = 900.0
    draw: Callable[[], float] = random.random

    def delay(self, failures: int, after: float | None = None) -> float | None:
        """The seconds to wait after so many failed attempts, or None when that was the last.

        Args:
            failures: Attempts that have failed, 1 or more.
            after: The seconds that the provider asked to wait for (Retry-After); the delay is never shorter. At most a
                day of it is believed.
        """
        if failures >= self.attempts:
            return None
        # The exponent is bounded only so that no float overflows.
        bound = min(self.longest, self.first * 2.0 ** min(failures - 1, 64))
        jitter = self.draw() * bound / 2
        if after is not None:
            return max(bound / 2, min(after, _LONGEST_ASKED)) + jitter
        return bound / 2 + jitter


_LONGEST_ASKED = 86_400.0
