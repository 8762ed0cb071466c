"""What a device has acknowledged: from a position to the seq that each channel was delivered up to."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush, heapreplace

# Marks kept for a channel while nothing is acknowledged. With more, the later ones become one: an acknowledgement then
# counts a little less than it could, never more.
_MARKS = 16


class AckTracker:
    """What was sent to a session and not acknowledged yet: by channel, pairs of (position, seq), both ascending.

    An acknowledgement looks at the channels that it concerns, and at no other: with ten thousand channels that wait it
    costs what it costs with one.
    """

    __slots__ = ("_firsts", "_marks")

    def __init__(self) -> None:
        self._marks: dict[str, list[tuple[int, int]]] = {}
        # A heap of each channel that has marks, with the position of its first one.
        self._firsts: list[tuple[int, str]] = []

    def sent(self, channel_id: str, position: int, seq: int) -> None:
        """Note that the session was sent a channel's events up to `seq`, which stands at `position`."""
        marks = self._marks.get(channel_id)
        if marks is None:
            self._marks[channel_id] = [(position, seq)]
            heappush(self._firsts, (position, channel_id))
        elif len(marks) < _MARKS:
            marks.append((position, seq))
        else:
            marks[-1] = position, seq

    def acknowledged(self, position: int) -> dict[str, int]:
        """Take an acknowledgement of everything up to a position.

        Returns:
            By channel, the seq up to which it is delivered now; only channels where that has risen.
        """
        delivered: dict[str, int] = {}
        firsts = self._firsts
        while firsts and firsts[0][0] <= position:
            channel_id = firsts[0][1]
            marks = self._marks[channel_id]
            count = bisect_right(marks, position, key=_position)
            delivered[channel_id] = marks[count - 1][1]
            if count == len(marks):
                del self._marks[channel_id]
                heappop(firsts)
            else:
                del marks[:count]
                heapreplace(firsts, (marks[0][0], channel_id))
        return delivered


def _position(mark: tuple[int, int]) -> int:
    return mark[0]
