"""What a device has of every channel's log, and where an event belongs in it."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class SeqPlace(enum.Enum):
    """Where an event belongs."""

    SEEN = enum.auto()
    """It came before."""
    NEXT = enum.auto()
    """It continues what is there."""
    BEYOND = enum.auto()
    """Something between what is there and it has not come."""
    UNKNOWN = enum.auto()
    """Nothing of its channel is there, and it is not visibly the first that this user may see."""


class ChannelOrder:
    """The last seq of each channel: 1, 2, 3, … without gap or repeat is what the contract promises.

    The beginning of what a user sees of a channel shows in the log itself: it is seq 1, or the event that added them.
    """

    __slots__ = ("_last",)

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        """Starts from the last seq by channel."""
        self._last = dict(last or {})

    def last(self, channel_id: str) -> int | None:
        """The last seq of a channel; None when nothing of it came yet."""
        return self._last.get(channel_id)

    def place(self, channel_id: str, seq: int) -> SeqPlace:
        """Where the event `seq` of a channel belongs."""
        last = self._last.get(channel_id)
        if last is None:
            return SeqPlace.NEXT if seq == 1 else SeqPlace.UNKNOWN
        if seq == last + 1:
            return SeqPlace.NEXT
        return SeqPlace.SEEN if seq <= last else SeqPlace.BEYOND

    def advance(self, channel_id: str, seq: int) -> None:
        """Everything of a channel up to `seq` has come, or will never be seen."""
        self._last[channel_id] = seq

    def restart(self, last: Mapping[str, int]) -> None:
        """Forgets all channels, and goes on from the last seq by channel."""
        self._last = dict(last)
