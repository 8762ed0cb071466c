"""Token buckets."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen: `burst` at once, then `per_second` on."""

    per_second: float
    burst: float


class TokenBucket:
    """One holder of a rate."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        """A full bucket at `now`, in the clock's monotonic seconds."""
        self._tokens = rate.burst
        self._at = now

    def take(self, rate: Rate, now: float, count: float = 1.0) -> float:
        """Takes `count` tokens, or none of them.

        Returns:
            0 when they were there, else the seconds until they will be.
        """
        wait = self.wait(rate, now, count)
        if not wait:
            self._tokens -= count
        return wait

    def wait(self, rate: Rate, now: float, count: float = 1.0) -> float:
        """The seconds until `count` tokens will be there: 0 when they are. Takes none."""
        self._tokens = min(rate.burst, self._tokens + (now - self._at) * rate.per_second)
        self._at = now
        return 0.0 if self._tokens >= count else (count - self._tokens) / rate.per_second

    def is_full(self, rate: Rate, now: float) -> bool:
        """Whether the bucket has recovered, so that forgetting it changes nothing."""
        return self._tokens + (now - self._at) * rate.per_second >= rate.burst


class RateLimiter:
    """Buckets by key (a user, an address), forgotten once they are full again."""

    _SWEEP_EVERY = 10_000

    def __init__(self, rate: Rate, clock: Clock) -> None:
        """All keys share `rate`; `clock` gives monotonic seconds."""
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = self._SWEEP_EVERY

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)

    def take(self, key: str, count: float = 1.0) -> float:
        """Takes `count` tokens of a key, or none of them.

        Returns:
            0 when they were there, else the seconds until they will be.
        """
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._sweep_at:
                self._sweep(now)
            bucket = self._buckets[key] = TokenBucket(self._rate, now)
        return bucket.take(self._rate, now, count)

    def wait(self, key: str, count: float = 1.0) -> float:
        """The seconds until a key has `count` tokens: 0 when it has. Takes none."""
        bucket = self._buckets.get(key)
        return bucket.wait(self._rate, self._clock.monotonic(), count) if bucket is not None else 0.0

    def _sweep(self, now: float) -> None:
        self._buckets = {key: each for key, each in self._buckets.items() if not each.is_full(self._rate, now)}
        self._sweep_at = max(self._SWEEP_EVERY, 2 * len(self._buckets))
