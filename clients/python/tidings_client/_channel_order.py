"""The order of a channel's events: which one comes next, which came before, and where one is missing."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class SeqPlace(enum.Enum):
    """Where an event belongs in its channel's log, as seen from what has come so far."""

    SEEN = enum.auto()
    """The event has come before."""
    NEXT = enum.auto()
    """The event continues the log."""
    BEYOND = enum.auto()
    """Events between the last one and this one have not come."""
    UNKNOWN = enum.auto()
    """Nothing of the channel has come, and nothing tells whether this is the first event that the user may see."""


class ChannelOrder:
    """Keeps the last seq of each channel, and checks the seqs that come against it.

    The contract promises 1, 2, 3, … in each channel, without a gap or a repeat. The beginning of what a user sees of a
    channel shows in the log itself: it is seq 1, or the event that added the user.

    Args:
        last: The last seq by channel, to start from.
    """

    __slots__ = ("_last",)

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        self._last = dict(last or {})

    def last(self, channel_id: str) -> int | None:
        """The last seq of a channel; None when nothing of it has come."""
        return self._last.get(channel_id)

    def place(self, channel_id: str, seq: int) -> SeqPlace:
        """Tells where the event with a seq belongs."""
        last = self._last.get(channel_id)
        if last is None:
            return SeqPlace.NEXT if seq == 1 else SeqPlace.UNKNOWN
        if seq == last + 1:
            return SeqPlace.NEXT
        return SeqPlace.SEEN if seq <= last else SeqPlace.BEYOND

    def advance(self, channel_id: str, seq: int) -> None:
        """Moves a channel on to a seq: everything up to it has come, or is not for this user to see."""
        self._last[channel_id] = seq

    def restart(self, last: Mapping[str, int]) -> None:
        """Forgets all channels, and starts again from the last seq by channel."""
        self._last = dict(last)
