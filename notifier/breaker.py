"""A circuit breaker: a provider that is down is left alone, and tried now and then."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tidings.core.clock import Clock


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a provider counts as down, and how often it is tried then.

    Args:
        failures: How many in a row, without a success between them.
        first: Seconds before it is asked for the first time; they double each time.
        longest: What they stop doubling at.
        draw: Gives a number from 0 to 1: half of each wait is drawn, so that several notifiers do not ask together.
    """

    failures: int = 5
    first: float = 1.0
    longest: float = 30.0
    draw: Callable[[], float] = random.random


_LONGEST_ASKED = 3_600.0
"""Seconds of Retry-After that a whole provider is left alone for."""


class Breaker:
    """Whether pushes may go to one provider now.

    Closed, as many as wanted. Open, none. After the wait one goes out: its success closes the breaker, its failure
    opens it for longer. Sends carry the era in which they began, so that what began before the breaker opened does not
    count twice.

    Args:
        clock: Gives monotonic seconds.
        policy: When to open, and for how long.
    """

    def __init__(self, clock: Clock, policy: BreakerPolicy | None = None) -> None:
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._in_a_row = 0
        self._openings = 0
        self._until: float | None = None
        self._asking = False
        self.era = 0
        """Changes whenever the breaker opens, closes or asks."""

    @property
    def is_open(self) -> bool:
        """Whether the provider counts as down."""
        return self._until is not None

    def free_slots(self, wanted: int) -> int:
        """How many of `wanted` pushes may go out now."""
        if self._until is None:
            return wanted
        if self._asking or self._clock.monotonic() < self._until:
            return 0
        return min(1, wanted)

    def wait(self) -> float | None:
        """Seconds until `free_slots` may rise: 0 when closed, None when the send under way decides."""
        if self._until is None:
            return 0.0
        return None if self._asking else max(0.0, self._until - self._clock.monotonic())

    def ask(self) -> None:
        """Note that the one push that may go out while it is open goes out."""
        if self._until is not None:
            self._asking = True
            self.era += 1

    def succeeded(self) -> bool:
        """Note that the provider works; return whether it counted as down."""
        news = self.is_open
        self._in_a_row = self._openings = 0
        self._until, self._asking = None, False
        if news:
            self.era += 1
        return news

    def failed(self, era: int, after: float | None = None) -> bool:
        """Note that a send that began in an era found the provider down; return whether the breaker opens thereby.

        Args:
            era: `era` when the send began.
            after: The seconds that the provider asked to wait for.
        """
        if era != self.era:
            return False
        self._in_a_row += 1
        if not self.is_open and self._in_a_row < self._policy.failures:
            return False
        policy = self._policy
        bound = min(policy.longest, policy.first * 2.0 ** min(self._openings, 64))
        wait = bound / 2 + policy.draw() * bound / 2
        self._until = self._clock.monotonic() + max(wait, min(after or 0.0, _LONGEST_ASKED))
        self._openings += 1
        self._asking = False
        self.era += 1
        return self._openings == 1

    def undecided(self, era: int) -> None:
        """Note that a send that began in an era ended without telling anything about the provider."""
        if era == self.era:
            self._asking = False
