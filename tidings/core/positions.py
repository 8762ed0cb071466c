"""Positions are Snowflake ids: time-ordered 64-bit numbers, unique over all servers.

From the top, a position has the milliseconds since 2024 (42 bits), the worker id of a server (10 bits), and a counter
(12 bits).
"""

from __future__ import annotations

from tidings.core.clock import Clock

EPOCH_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC; the milliseconds last until 2093 within the 63 bits that every engine can store."""

MAX_WORKER_ID = (1 << 10) - 1

_TIME_SHIFT = 22
_WORKER_SHIFT = 12
_COUNTER_MASK = (1 << _WORKER_SHIFT) - 1


def time_ms(position: int) -> int:
    """Return when a position was given out, in milliseconds since 1970."""
    return (position >> _TIME_SHIFT) + EPOCH_MS


def at(ms: int) -> int:
    """Return the lowest position of a moment, which is in milliseconds since 1970."""
    return max(0, ms - EPOCH_MS) << _TIME_SHIFT


def span(ms: int) -> int:
    """Return the distance between two positions that were given out some milliseconds after one another."""
    return ms << _TIME_SHIFT


class Positions:
    """Gives out the positions of one server, each larger than the last.

    Args:
        clock: Tells the time.
        worker_id: 0 to 1023, unique among the servers alive.
        after: The highest position known to be given out: all are larger, even if the clock has gone back.

    Raises:
        ValueError: The worker id is out of range.
    """

    def __init__(self, clock: Clock, worker_id: int = 0, after: int = 0) -> None:
        self._clock = clock
        self._ms = 0
        self._counter = 0
        self.change_worker_id(worker_id)
        self._pass(after)

    def ahead_seconds(self) -> float:
        """How far the last position is ahead of the clock, which was more ahead when an earlier one was given out."""
        return max(0.0, (self._ms + EPOCH_MS - self._clock.now_ms()) / 1000)

    def change_worker_id(self, worker_id: int) -> None:
        """Go on with another worker id.

        Raises:
            ValueError: The worker id is out of range.
        """
        if not 0 <= worker_id <= MAX_WORKER_ID:
            raise ValueError(f"worker id {worker_id} is not within 0 to {MAX_WORKER_ID}")
        if self._ms:
            # A smaller worker id would make a smaller position within the same millisecond.
            self._ms += 1
            self._counter = 0
        self._worker = worker_id << _WORKER_SHIFT

    def next(self, after: int = 0) -> int:
        """Give out the next position, larger than all before it and than `after`, such as the head of a channel."""
        ms = self._clock.now_ms() - EPOCH_MS
        if ms > self._ms:
            self._ms = ms
            self._counter = 0
        else:
            self._step()
        self._pass(after)
        return self._ms << _TIME_SHIFT | self._worker | self._counter

    def _pass(self, position: int) -> None:
        # Within the same millisecond another server's worker id may be larger: go to the next millisecond then.
        if self._ms << _TIME_SHIFT | self._worker | self._counter <= position:
            self._ms = (position >> _TIME_SHIFT) + 1
            self._counter = 0

    def _step(self) -> None:
        if self._counter == _COUNTER_MASK:
            # There were 4,096 in this millisecond: borrow from the next.
            self._ms += 1
            self._counter = 0
        else:
            self._counter += 1
