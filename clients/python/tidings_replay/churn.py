"""The choice of when a device drops out, and how."""

from __future__ import annotations

import enum
import itertools
import random


class DropKind(enum.Enum):
    """A way to lose a connection."""

    RECONNECT = enum.auto()
    """The stream breaks, as when the network changes; the program goes on."""
    LEAVE = enum.auto()
    """The program is closed as it should be, and started again."""
    CRASH = enum.auto()
    """The program ends in the middle of what it was doing, and is started again."""


class Churn:
    """Decides when one device drops out; the kinds take turns.

    It counts the events and lines of the device, so that a fast conversation is broken as often as a slow one.

    Args:
        chance: The source of random numbers.
    """

    _FIRST_WITHIN = 40
    _EVERY = (20, 100)
    _LINES_BROKEN = 1 / 3
    _AWAY_SECONDS = 0.1
    # A line is on its way for about this long: the break comes before it is written, while it is stored, or after.
    _LINE_SECONDS = 0.01

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._kinds = itertools.cycle(DropKind)
        self._events_left = chance.randint(1, self._FIRST_WITHIN)

    def sees(self) -> DropKind | None:
        """Counts an event that arrives.

        Returns:
            How the connection is lost now; None when it is not.
        """
        self._events_left -= 1
        if self._events_left > 0:
            return None
        self._events_left = self._chance.randint(*self._EVERY)
        return next(self._kinds)

    def says(self) -> tuple[DropKind, float] | None:
        """Counts a line that is handed over to be sent.

        Returns:
            How the connection is lost while the line is on its way, and after how many seconds; None when it is not.
        """
        if self._chance.random() >= self._LINES_BROKEN:
            return None
        return next(self._kinds), self._chance.uniform(0, self._LINE_SECONDS)

    def away(self) -> float:
        """Gives the seconds until a program that has ended is started again."""
        return self._chance.uniform(0, self._AWAY_SECONDS)
