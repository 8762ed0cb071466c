"""Frames that wait to be written to one session: bounded, and taken all at once."""

from __future__ import annotations

from tidings.core.limits import SessionLimits


class Outbox:
    """Framed events, in order.

    Args:
        limits: The bounds.
    """

    __slots__ = ("_bytes", "_frames", "_limits", "events")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._frames: list[bytes] = []
        self._bytes = 0
        self.events = 0
        """How many events wait."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def is_half_full(self) -> bool:
        """Whether more than half of what may wait does."""
        return 2 * self._bytes > self._limits.waiting_bytes or 2 * self.events > self._limits.waiting_events

    def add(self, frame: bytes, events: int) -> bool:
        """Take a frame of some events.

        Returns:
            False when the bound is passed: the reader is too slow.
        """
        # A frame that alone is over the bound is taken by an empty outbox, or it could never be sent.
        fits = not self._frames or (
            self._bytes + len(frame) <= self._limits.waiting_bytes
            and self.events + events <= self._limits.waiting_events
        )
        if fits:
            self._frames.append(frame)
            self._bytes += len(frame)
            self.events += events
        return fits

    def take(self) -> bytes:
        """Take everything that waits, as one frame."""
        frames, self._frames = self._frames, []
        self._bytes = self.events = 0
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def clear(self) -> None:
        """Drop everything that waits."""
        self._frames = []
        self._bytes = self.events = 0
