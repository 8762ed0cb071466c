"""How often one may guess at a password."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidings.core.clock import Clock
from tidings.core.errors import too_fast
from tidings.core.rate import Rate, RateLimiter


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """How often things may be tried.

    Args:
        sign_ups: New accounts from one address.
        failures_per_account: Wrong passwords for one account.
        failures_per_address: Wrong passwords, for whichever accounts, from one address.
    """

    sign_ups: Rate = field(default_factory=lambda: Rate(per_second=20, burst=500))
    failures_per_account: Rate = field(default_factory=lambda: Rate(per_second=1 / 30, burst=10))
    failures_per_address: Rate = field(default_factory=lambda: Rate(per_second=1, burst=100))


class FailureThrottle:
    """Counts failed attempts; those that succeed cost nothing.

    Ask before a password is checked, which saves the work, and again afterwards, when others that ran at the same time
    may have failed: thus no more wrong guesses get an answer than the rates allow, however many are made at once.
    """

    def __init__(self, limits: AccountLimits, clock: Clock) -> None:
        """Counts by `limits`."""
        self._accounts = RateLimiter(limits.failures_per_account, clock)
        self._addresses = RateLimiter(limits.failures_per_address, clock)

    def check(self, account: str, address: str) -> None:
        """Refuses an attempt while there have been too many failures.

        Raises:
            Refusal: RESOURCE_EXHAUSTED with the seconds after which one more is allowed.
        """
        wait = max(self._accounts.wait(account), self._addresses.wait(address))
        if wait:
            raise too_fast("failed sign-ins", wait)

    def failed(self, account: str, address: str) -> None:
        """Notes a failure."""
        self._accounts.take(account)
        self._addresses.take(address)
