"""What a device has acknowledged: from a position to the seq that each channel was delivered up to."""

from __future__ import annotations

# Marks kept for a channel while nothing is acknowledged. With more, the later ones become one: an acknowledgement then
# counts a little less than it could, never more.
_MARKS = 16


class AckTracker:
    """What was sent to a session and not acknowledged yet: by channel, pairs of (position, seq), both ascending."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: dict[str, list[tuple[int, int]]] = {}

    def sent(self, channel_id: str, position: int, seq: int) -> None:
        """Note that the session was sent a channel's events up to `seq`, which stands at `position`."""
        marks = self._marks.get(channel_id)
        if marks is None:
            self._marks[channel_id] = [(position, seq)]
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
        for channel_id, marks in list(self._marks.items()):
            count = 0
            for mark in marks:
                if mark[0] > position:
                    break
                count += 1
            if count:
                delivered[channel_id] = marks[count - 1][1]
                if count == len(marks):
                    del self._marks[channel_id]
                else:
                    del marks[:count]
        return delivered
