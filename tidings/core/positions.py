"""Positions: time-ordered 64-bit numbers, unique over all servers.

A position is, from the top: milliseconds since 2024 (42 bits), the server's number (10 bits), a counter (12 bits).
"""

from __future__ import annotations

from tidings.core.clock import Clock

EPOCH_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC; the milliseconds last until 2093 within the 63 bits that every engine can store."""

MAX_WORKER_ID = (1 << 10) - 1

_TIME_SHIFT = 22
_SERVER_SHIFT = 12
_COUNTER_MASK = (1 << _SERVER_SHIFT) - 1


def time_ms(position: int) -> int:
    """The milliseconds since 1970 at which a position was given out."""
    return (position >> _TIME_SHIFT) + EPOCH_MS


def at(ms: int) -> int:
    """The lowest position of a moment, given as milliseconds since 1970."""
    return max(0, ms - EPOCH_MS) << _TIME_SHIFT


def span(ms: int) -> int:
    """How far apart positions are that were given out some milliseconds after one another."""
    return ms << _TIME_SHIFT


class Positions:
    """Gives out the positions of one server, each larger than the last."""

    def __init__(self, clock: Clock, server_number: int = 0, after: int = 0) -> None:
        """Begins beyond `after`, the highest position known to be given out, should the clock have gone back.

        Args:
            clock: Tells the milliseconds.
            server_number: 0 to 1023, unique among the servers alive.
            after: A position.

        Raises:
            ValueError: The server number is out of range.
        """
        self._clock = clock
        self._ms = 0
        self._counter = 0
        self.renumber(server_number)
        self._pass(after)

    def renumber(self, server_number: int) -> None:
        """Goes on with another server number.

        Raises:
            ValueError: It is out of range.
        """
        if not 0 <= server_number <= MAX_WORKER_ID:
            raise ValueError(f"server number {server_number} is not within 0 to {MAX_WORKER_ID}")
        if self._ms:
            # A smaller number would make a smaller position within the same millisecond.
            self._ms += 1
            self._counter = 0
        self._server = server_number << _SERVER_SHIFT

    def next(self, after: int = 0) -> int:
        """The next position, larger than all before it and than `after` (the head of the channel, say)."""
        ms = self._clock.now_ms() - EPOCH_MS
        if ms > self._ms:
            self._ms = ms
            self._counter = 0
        else:
            self._step()
        self._pass(after)
        return self._ms << _TIME_SHIFT | self._server | self._counter

    def _pass(self, position: int) -> None:
        # Another server's number may be larger than ours within the same millisecond: go to the next one then.
        if self._ms << _TIME_SHIFT | self._server | self._counter <= position:
            self._ms = (position >> _TIME_SHIFT) + 1
            self._counter = 0

    def _step(self) -> None:
        if self._counter == _COUNTER_MASK:
            # More than 4,096 in a millisecond: borrow from the next.
            self._ms += 1
            self._counter = 0
        else:
            self._counter += 1
