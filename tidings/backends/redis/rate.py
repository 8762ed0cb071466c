"""Token buckets that all servers share, on Redis."""

from __future__ import annotations

from tidings.backends.redis.pipeline import Script
from tidings.backends.redis.shards import Shards
from tidings.core.ports import SharedRates
from tidings.core.rate import Rate

# A bucket is a hash: how many tokens it had, and when, in seconds by the clock of Redis. The key expires when the
# bucket is full. ARGV: tokens a second, the capacity, how many are wanted, whether to take them.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local per_second, burst, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens = burst
local before = redis.call('HMGET', KEYS[1], 'tokens', 'at')
if before[1] then
  tokens = math.min(burst, before[1] + math.max(0, now - before[2]) * per_second)
end
if tokens < count then return string.format('%.6f', (count - tokens) / per_second) end
if ARGV[4] == '1' then
  tokens = tokens - count
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / per_second * 1000) + 1)
end
return '0'
""")


class RedisSharedRates(SharedRates):
    """The buckets of all keys, each on the key's shard.

    Args:
        shards: The Redis servers; the caller closes them.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._keys = f"{shards.prefix}rates:"

    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """See `SharedRates.take`."""
        return await self._ask(key, rate, count, take=True)

    async def wait(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """See `SharedRates.wait`."""
        return await self._ask(key, rate, count, take=False)

    async def _ask(self, key: str, rate: Rate, count: float, take: bool) -> float:
        arguments = (rate.per_second, rate.burst, count, int(take))
        return float(await self._shards.of(key).run(_TAKE, [self._keys + key], arguments))
