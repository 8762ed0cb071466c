"""Limits on how often something may be done, over all api servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from tidings.core.clock import Clock
from tidings.core.errors import Refusal, too_fast
from tidings.core.ports import SharedRates
from tidings.core.rate import Rate, RateLimiter

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 0.5
"""Longer than that nobody who signs in is kept waiting for the counts of others."""


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """How often sign-up and log-in may be tried.

    Args:
        sign_ups: New accounts from one address.
        failures_per_account: Wrong passwords for one account.
        failures_per_address: Wrong passwords, for whichever accounts, from one address.
    """

    sign_ups: Rate
    failures_per_account: Rate
    failures_per_address: Rate


class SharedCounts:
    """Counts of all api servers together. Without the engine, each server goes on with its own counts.

    Args:
        rates: The engine; None where there is one api server.
    """

    def __init__(self, rates: SharedRates | None) -> None:
        self._rates = rates

    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """Take tokens; return the seconds until there are so many, 0 when they were there or nobody knows."""
        return await _known(self._rates.take(key, rate, count)) if self._rates is not None else 0.0

    async def wait(self, key: str, rate: Rate) -> float:
        """The seconds until there is a token; 0 when there is one or nobody knows."""
        return await _known(self._rates.wait(key, rate)) if self._rates is not None else 0.0


async def _known(asked: Awaitable[float]) -> float:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await asked
    except (Refusal, TimeoutError) as error:
        _log.warning("the counts of the other servers are not known: %r", error)
        return 0.0


class Allowance:
    """How often each user, or each address, may do one thing.

    Args:
        what: The thing, as a refusal calls it.
        rate: The rate of each.
        clock: Gives monotonic seconds.
        shared: Counts of all servers.
    """

    def __init__(self, what: str, rate: Rate, clock: Clock, shared: SharedCounts) -> None:
        self._what = what
        self._rate = rate
        self._here = RateLimiter(rate, clock)
        self._shared = shared

    async def spend(self, key: str, field: str = "", count: int = 1) -> None:
        """Do it once, or `count` times at once. What is more than may ever be done at once needs all of that.

        Args:
            key: The user's id, or the address.
            field: The field of the request that asks for it, where there is one.
            count: How many times.

        Raises:
            Refusal: RESOURCE_EXHAUSTED with the seconds after which there is enough; nothing is done.
        """
        tokens = min(count, self._rate.burst)
        wait = self._here.take(key, tokens) or await self._shared.take(f"{self._what} of {key}", self._rate, tokens)
        if wait:
            named = {"field": field, "limit": f"{self._rate.burst:.0f}", "actual": str(count)} if field else {}
            raise too_fast(self._what, wait, **named)


class FailureThrottle:
    """Counts failed attempts; successful ones cost nothing.

    Ask before a password is checked, which saves the work, and again afterwards, when others that ran at the same time
    may have failed: thus no more wrong guesses get an answer than the rates allow, however many are made at once. With
    several servers that holds for the guesses at each of them, and over all for those that do not run at the same time.

    Args:
        limits: The rates.
        clock: Gives monotonic seconds.
        shared: Counts of all servers.
    """

    def __init__(self, limits: AccountLimits, clock: Clock, shared: SharedCounts) -> None:
        self._limits = limits
        self._shared = shared
        self._accounts = RateLimiter(limits.failures_per_account, clock)
        self._addresses = RateLimiter(limits.failures_per_address, clock)

    async def check(self, account: str, address: str) -> None:
        """Refuse an attempt while there have been too many failures.

        Raises:
            Refusal: RESOURCE_EXHAUSTED with the seconds after which one more is allowed.
        """
        shared = [
            await self._shared.wait(f"failures of account {account}", self._limits.failures_per_account),
            await self._shared.wait(f"failures from {address}", self._limits.failures_per_address),
        ]
        # Asked last: between this and what follows, nobody else runs here.
        wait = max(self._accounts.wait(account), self._addresses.wait(address), *shared)
        if wait:
            raise too_fast("failed sign-ins", wait)

    async def failed(self, account: str, address: str) -> None:
        """Count a failure.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when others have failed meanwhile, at other servers: the attempt gets no answer.
        """
        self._accounts.take(account)
        self._addresses.take(address)
        wait = max(
            await self._shared.take(f"failures of account {account}", self._limits.failures_per_account),
            await self._shared.take(f"failures from {address}", self._limits.failures_per_address),
        )
        if wait:
            raise too_fast("failed sign-ins", wait)
