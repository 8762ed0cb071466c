"""Rate limits by token buckets."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: `burst` times at once, and `per_second` times a second in the long run."""

    per_second: float
    burst: float


class TokenBucket:
    """The tokens of one key. A new bucket is full.

    Args:
        rate: The rate.
        now: The time, in the clock's monotonic seconds, as in all methods.
    """

    __slots__ = ("_at", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._tokens = rate.burst
        self._at = now

    def take(self, rate: Rate, now: float, count: float = 1.0) -> float:
        """Take `count` tokens, or none of them.

        Returns:
            0 when the tokens were taken, else the seconds until there are enough.
        """
        wait = self.wait(rate, now, count)
        if not wait:
            self._tokens -= count
        return wait

    def wait(self, rate: Rate, now: float, count: float = 1.0) -> float:
        """Return the seconds until there are `count` tokens; 0 when there are now. None are taken."""
        self._tokens = min(rate.burst, self._tokens + (now - self._at) * rate.per_second)
        self._at = now
        return 0.0 if self._tokens >= count else (count - self._tokens) / rate.per_second

    def is_full(self, rate: Rate, now: float) -> bool:
        """Tell whether the bucket is full again, so that it can be forgotten."""
        return self._tokens + (now - self._at) * rate.per_second >= rate.burst


class RateLimiter:
    """A bucket for each key, such as a user or an address. Buckets are forgotten once they are full again.

    Args:
        rate: The rate of each key.
        clock: Tells the time.
    """

    _SWEEP_EVERY = 10_000

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = self._SWEEP_EVERY

    def __len__(self) -> int:
        """Return the number of keys that are remembered."""
        return len(self._buckets)

    def take(self, key: str, count: float = 1.0) -> float:
        """Take `count` tokens of a key, or none of them.

        Returns:
            0 when the tokens were taken, else the seconds until there are enough.
        """
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._sweep_at:
                self._sweep(now)
            bucket = self._buckets[key] = TokenBucket(self._rate, now)
        return bucket.take(self._rate, now, count)

    def wait(self, key: str, count: float = 1.0) -> float:
        """Return the seconds until a key has `count` tokens; 0 when it has them now. None are taken."""
        bucket = self._buckets.get(key)
        return bucket.wait(self._rate, self._clock.monotonic(), count) if bucket is not None else 0.0

    def _sweep(self, now: float) -> None:
        self._buckets = {key: each for key, each in self._buckets.items() if not each.is_full(self._rate, now)}
        self._sweep_at = max(self._SWEEP_EVERY, 2 * len(self._buckets))
