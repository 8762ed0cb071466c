"""A set of whole numbers, kept as ranges: the entries of a channel that a replay has yielded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class RangeSet:
    """A set of whole numbers."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First and last number of each range. The ranges are in order and do not touch."""

    def add(self, first: int, last: int) -> Sequence[tuple[int, int]]:
        """Add a range; return the parts of it that were not in the set."""
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
