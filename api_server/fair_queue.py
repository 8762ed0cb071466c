"""A queue in which everybody has a turn, however many others one of them has put in."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by key, taken from each key in turn.

    Args:
        most: How many may wait.
        most_of_one: How many of one key may wait.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._count = 0
        # Keys in the order of their turns.
        self._items: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, item: T) -> bool:
        """Put an item in.

        Returns:
            False when as many wait as may: it is not taken.
        """
        items = self._items.get(key)
        if self._count >= self._most or (items is not None and len(items) >= self._most_of_one):
            return False
        if items is None:
            items = self._items[key] = deque()
        items.append(item)
        self._count += 1
        return True

    def take(self) -> T:
        """Take the first item of the key whose turn it is; there has to be one."""
        key = next(iter(self._items))
        items = self._items.pop(key)
        item = items.popleft()
        self._count -= 1
        if items:
            self._items[key] = items
        return item

    def discard(self, key: str, item: T) -> None:
        """Take an item of a key out, wherever it stands; nothing happens when it is not there."""
        items = self._items.get(key)
        if items is None or item not in items:
            return
        items.remove(item)
        self._count -= 1
        if not items:
            del self._items[key]
