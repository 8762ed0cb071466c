"""From the position that a device acknowledges to the seq that each of its channels was delivered up to."""

from __future__ import annotations

# Marks kept for a channel while nothing is acknowledged. With more, the later ones become one: an acknowledgement then
# counts a little less than it could, never more.
_MARKS = 16


class AckTracker:
    """What was sent to one session and not acknowledged yet: by channel, some (position, seq), both ascending."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        """Nothing was sent."""
        self._marks: dict[str, list[tuple[int, int]]] = {}

    def sent(self, channel_id: str, position: int, seq: int) -> None:
        """Notes that the session was sent a channel's events up to `seq`, which stands at `position`."""
        marks = self._marks.get(channel_id)
        if marks is None:
            self._marks[channel_id] = [(position, seq)]
        elif len(marks) < _MARKS:
            marks.append((position, seq))
        else:
            marks[-1] = position, seq

    def acknowledged(self, position: int) -> dict[str, int]:
        """Takes an acknowledgement of everything up to a position.

        Returns:
            By channel: the seq that was delivered, where that is news.
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
