"""Which entries of a channel have been in a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class RangeSet:
    """Numbers that have been seen: ranges that do not touch, in order."""

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> Sequence[tuple[int, int]]:
        """Adds a range; returns the parts of it that were not there yet."""
        new: list[tuple[int, int]] = []
        before = [each for each in self.ranges if each[1] < first - 1]
        after = [each for each in self.ranges if each[0] > last + 1]
        touching = self.ranges[len(before) : len(self.ranges) - len(after)]
        at = first
        for begin, end in touching:
            if at < begin:
                new.append((at, min(last, begin - 1)))
            at = max(at, end + 1)
        if at <= last:
            new.append((at, last))
        whole = min([first, *(begin for begin, _ in touching)]), max([last, *(end for _, end in touching)])
        self.ranges = [*before, whole, *after]
        return new
