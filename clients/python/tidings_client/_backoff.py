"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential backoff with full jitter.

    Many clients lose the same server at the same moment. A delay drawn evenly from zero to a bound that doubles spreads
    them over time better than a doubling delay with a little noise on it.
    """

    def __init__(self, first: float = 0.1, longest: float = 10.0, draw: Callable[[], float] = random.random) -> None:
        """Starts afresh.

        Args:
            first: The bound of the first delay, in seconds.
            longest: What the bound stops doubling at, in seconds.
            draw: Gives a number from 0 to 1.
        """
        self._first = first
        self._longest = longest
        self._draw = draw
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """The seconds to wait after one more failure.

        Args:
            at_least: What the server asked for (RetryInfo), in seconds. The jitter is added to it, so that those who
                were told the same do not come back together.
        """
        # The exponent is bounded only so that no float overflows.
        bound = min(self._longest, self._first * 2.0 ** min(self._failures, 64))
        self._failures += 1
        return (at_least or 0.0) + self._draw() * bound

    def reset(self) -> None:
        """It went well: the next failure is the first again."""
        self._failures = 0
