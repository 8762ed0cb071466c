"""Rate limits that all servers share."""

from __future__ import annotations

import abc

from tidings.core.rate import Rate


class SharedRates(abc.ABC):
    """Token buckets that all servers share, beside those of each server (`tidings.core.rate`). They are soft state."""

    @abc.abstractmethod
    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """Take `count` tokens of a key's bucket, or none of them.

        Returns:
            0 when the tokens were taken, else the seconds until there are enough.
        """

    @abc.abstractmethod
    async def wait(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """Return the seconds until a key's bucket has `count` tokens; 0 when it has them now. None are taken."""
