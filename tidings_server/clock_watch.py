"""Tells operators of a clock that is wrong."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Gauge

from tidings.core.clock import Clock
from tidings.core.positions import Positions

_log = logging.getLogger(__name__)

_JUMPED_SECONDS = 1.0
# As far as a cursor may be ahead in a mesh.
_FAR_AHEAD_SECONDS = 60.0


class ClockWatch:
    """Says in the log and in metrics when the machine's clock has jumped, and when positions are far ahead of it.

    Args:
        clock: The clock.
        positions: Those of this server.
        registry: Takes the metrics.
    """

    def __init__(self, clock: Clock, positions: Positions, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._positions = positions
        self._jumped = self._are_ahead = False
        jumped = Gauge(
            "tidings_clock_jumped_seconds",
            "How far the machine's clock is from the steady time; negative is behind",
            registry=registry,
        )
        jumped.set_function(self._jumped_by)
        ahead = Gauge(
            "tidings_positions_ahead_seconds", "How far the last position is ahead of the clock", registry=registry
        )
        ahead.set_function(positions.ahead_seconds)

    async def look(self) -> None:
        """Compare, and say what has changed since the last time."""
        jumped_by = self._jumped_by()
        jumped = abs(jumped_by) >= _JUMPED_SECONDS
        if jumped and not self._jumped:
            _log.warning(
                "the machine's clock has jumped by %+.1f s: what people are shown follows it, and the rest slowly",
                jumped_by,
            )
        elif self._jumped and not jumped:
            _log.warning("the machine's clock and the steady time agree again")
        self._jumped = jumped
        ahead_by = self._positions.ahead_seconds()
        are_ahead = ahead_by >= _FAR_AHEAD_SECONDS
        if are_ahead and not self._are_ahead:
            _log.warning(
                "the last position is %.0f s ahead of the machine's clock, which is behind or was ahead when it was"
                " written: new positions go on from there, in order",
                ahead_by,
            )
        self._are_ahead = are_ahead

    def _jumped_by(self) -> float:
        return (self._clock.wall_ms() - self._clock.now_ms()) / 1000
