"""When a device drops out, and how."""

from __future__ import annotations

import enum
import itertools
import random


class DropKind(enum.Enum):
    """How a device loses its connection."""

    RECONNECT = enum.auto()
    """The stream breaks, as when the network changes; the program goes on."""
    LEAVE = enum.auto()
    """The program is closed as it should be, and started again."""
    CRASH = enum.auto()
    """The program ends in the middle of what it was doing, and is started again."""


class Churn:
    """One device's fate; the ways take turns.

    It is counted in what the device sees and says, so that a fast conversation is broken as often as a slow one.
    """

    _FIRST_WITHIN = 40
    _EVERY = (20, 100)
    _LINES_BROKEN = 1 / 3
    _AWAY_SECONDS = 0.1
    # A line is on its way for about so long: the break comes before it was written, while it is stored, or after.
    _LINE_SECONDS = 0.01

    def __init__(self, chance: random.Random) -> None:
        """Begins connected.

        Args:
            chance: Decides.
        """
        self._chance = chance
        self._ways = itertools.cycle(DropKind)
        self._events_left = chance.randint(1, self._FIRST_WITHIN)

    def sees(self) -> DropKind | None:
        """An event arrives.

        Returns:
            How the connection is lost over it; None when it is not.
        """
        self._events_left -= 1
        if self._events_left > 0:
            return None
        self._events_left = self._chance.randint(*self._EVERY)
        return next(self._ways)

    def says(self) -> tuple[DropKind, float] | None:
        """A line is handed over to be sent.

        Returns:
            How the connection is lost meanwhile, and after how many seconds; None when it is not.
        """
        if self._chance.random() >= self._LINES_BROKEN:
            return None
        return next(self._ways), self._chance.uniform(0, self._LINE_SECONDS)

    def away(self) -> float:
        """For how many seconds a program that has ended is not running."""
        return self._chance.uniform(0, self._AWAY_SECONDS)
