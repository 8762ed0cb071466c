"""Pages of a channel's log, alike in every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from tidings.core.ports import PageRequest
from tidings.core.values import SeqRange

T = TypeVar("T")


class Page(Generic[T]):
    """Collects the items of a page, the nearest first.

    Args:
        request: The page that is asked for.
    """

    def __init__(self, request: PageRequest) -> None:
        self._request = request
        self._items: list[T] = []
        self._bytes = 0

    def add(self, item: T, size: int) -> bool:
        """Add an item if the page has room for it.

        Args:
            item: The next item.
            size: Its size in bytes.

        Returns:
            Whether the page may have room for another one.
        """
        self._bytes += size
        if self._items and self._bytes > self._request.most_bytes:
            return False
        self._items.append(item)
        return len(self._items) < self._request.limit

    def in_order(self) -> list[T]:
        """Return the items in the order of the log."""
        return self._items if self._request.upwards else self._items[::-1]


def stretches(ranges: Sequence[SeqRange], request: PageRequest, end: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a log in which the items of a page are, the nearest first.

    Args:
        ranges: The entries that may be seen.
        request: The page.
        end: The last entry that there may be.
    """
    for each in ranges if request.upwards else reversed(ranges):
        first = max(each.first, (request.after_seq or 0) + 1)
        last = min(each.last or end, request.before_seq - 1 if request.before_seq else end, end)
        if first <= last:
            yield first, last
