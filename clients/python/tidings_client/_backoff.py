"""The time to wait before another attempt."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential backoff with full jitter.

    Many clients lose the same server at the same moment. A delay drawn evenly from zero to a bound that doubles spreads
    them over time better than a doubling delay with a little noise on it.

    Args:
        first: The bound of the first delay, in seconds.
        longest: The largest bound, in seconds.
        draw: Gives a random number from 0 to 1.
    """

    def __init__(self, first: float = 0.1, longest: float = 10.0, draw: Callable[[], float] = random.random) -> None:
        self._first = first
        self._longest = longest
        self._draw = draw
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Counts one more failure, and gives the seconds to wait.

        Args:
            at_least: The delay that the server asked for (RetryInfo), in seconds. The jitter is added to it, so that
                clients that were told the same delay do not come back together.
        """
        # The exponent is bounded only so that no float overflows.
        bound = min(self._longest, self._first * 2.0 ** min(self._failures, 64))
        self._failures += 1
        return (at_least or 0.0) + self._draw() * bound

    def reset(self) -> None:
        """Forgets the failures, after a success."""
        self._failures = 0
