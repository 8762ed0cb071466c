"""Which chat servers hold sessions of whom, on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from tidings.backends.redis.pipeline import AutoPipeline, Script
from tidings.backends.redis.shards import Shards
from tidings.core.ports import Routes

_USERS_AT_ONCE = 500
"""At most so many in one script, because other commands wait in Redis while it runs."""

# A sorted set for each user: servers by the time at which they are forgotten, by the clock of Redis.
# ARGV[1]: the prefix of the keys.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
_ADD = Script(
    _NOW
    + """
for i = 4, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, now + ARGV[3], ARGV[2])
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
end
"""
)
# Answers with a list for each server: its id, and the indexes of the users whose sessions it holds.
_LOOKUP = Script(
    _NOW
    + """
local call, prefix, since = redis.call, ARGV[1], '(' .. now
local users_of, answer = {}, {}
for i = 2, #ARGV do
  local servers = call('ZRANGEBYSCORE', prefix .. ARGV[i], since, '+inf')
  for j = 1, #servers do
    local users = users_of[servers[j]]
    if not users then
      users = {servers[j]}
      users_of[servers[j]] = users
      answer[#answer + 1] = users
    end
    users[#users + 1] = i - 2
  end
end
return answer
"""
)


class RedisRoutes(Routes):
    """The routes of all users, each on the user's shard.

    Args:
        shards: The Redis servers; the caller closes them.
        lifetime_seconds: How long a route is kept after it was added or refreshed last.
    """

    def __init__(self, shards: Shards, lifetime_seconds: float = 60.0) -> None:
        self._shards = shards
        self._keys = f"{shards.prefix}routes:"
        self._epoch_key = f"{shards.prefix}epoch"
        self._lifetime_ms = round(lifetime_seconds * 1000)

    async def add(self, user_id: str, server_id: str) -> None:
        """See `Routes.add`."""
        await self._shards.of(user_id).run(_ADD, (), (self._keys, server_id, self._lifetime_ms, user_id))

    async def remove(self, user_id: str, server_id: str) -> None:
        """See `Routes.remove`."""
        await self._shards.of(user_id).call("ZREM", self._keys + user_id, server_id)

    async def refresh(self, server_id: str, user_ids: Collection[str]) -> None:
        """See `Routes.refresh`."""
        await asyncio.gather(
            *(
                pipeline.run(_ADD, (), (self._keys, server_id, self._lifetime_ms, *some))
                for pipeline, some in self._parts(user_ids)
            )
        )

    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """See `Routes.lookup`. It takes one round trip a shard, shared with everyone who asks at the same moment."""
        routes: dict[str, list[str]] = {}
        parts = self._parts(user_ids)
        if len(parts) == 1:
            # Saves a task. With one shard this is always the case.
            await self._lookup(*parts[0], routes)
        else:
            await asyncio.gather(*(self._lookup(pipeline, some, routes) for pipeline, some in parts))
        return routes

    async def epoch(self) -> str:
        """See `Routes.epoch`."""
        return ",".join(await asyncio.gather(*(pipeline.epoch(self._epoch_key) for pipeline in self._shards.pipelines)))

    def _parts(self, user_ids: Collection[str]) -> Sequence[tuple[AutoPipeline, list[str]]]:
        return [
            (pipeline, part[at : at + _USERS_AT_ONCE])
            for pipeline, part in self._shards.split(user_ids).items()
            for at in range(0, len(part), _USERS_AT_ONCE)
        ]

    async def _lookup(self, pipeline: AutoPipeline, user_ids: list[str], routes: dict[str, list[str]]) -> None:
        for server_id, *found in await pipeline.run(_LOOKUP, (), (self._keys, *user_ids)):
            routes.setdefault(server_id.decode(), []).extend([user_ids[index] for index in found])
