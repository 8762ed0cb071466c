"""Rates that servers count together."""

from __future__ import annotations

import abc

from tidings.core.rate import Rate


class SharedRates(abc.ABC):
    """Token buckets that all servers share, beside those that each has of its own (`tidings.core.rate`). Soft."""

    @abc.abstractmethod
    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """Takes `count` tokens of a key's bucket, or none of them.

        Returns:
            0 when they were there, else the seconds until they will be.
        """

    @abc.abstractmethod
    async def wait(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """The seconds until a key's bucket has `count` tokens: 0 when it has. Takes none."""
