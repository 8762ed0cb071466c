"""Which chat servers hold sessions of whom, on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from tidings.backends.redis.link import Link, Script
from tidings.backends.redis.shards import Shards
from tidings.core.ports import Routes

_REFRESH_AT_ONCE = 500

# A sorted set for each user: servers by the moment at which they are forgotten, by the clock of Redis.
# ARGV[1]: what the keys begin with.
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
# Answers with a flat list: for each server its id, how many users it has, and which of those asked for they are.
_LOOKUP = Script(
    _NOW
    + """
local users_of, servers = {}, {}
for i = 2, #ARGV do
  for _, server in ipairs(redis.call('ZRANGEBYSCORE', ARGV[1] .. ARGV[i], '(' .. now, '+inf')) do
    local users = users_of[server]
    if not users then
      users = {}
      users_of[server] = users
      servers[#servers + 1] = server
    end
    users[#users + 1] = i - 2
  end
end
local answer = {}
for _, server in ipairs(servers) do
  answer[#answer + 1] = server
  answer[#answer + 1] = #users_of[server]
  for _, user in ipairs(users_of[server]) do answer[#answer + 1] = user end
end
return answer
"""
)


class RedisRoutes(Routes):
    """The routes of all users, each on the user's shard."""

    def __init__(self, shards: Shards, lifetime_seconds: float = 60.0) -> None:
        """Reads and writes `shards`; a route is forgotten `lifetime_seconds` after it was added or refreshed last."""
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
                link.run(_ADD, (), (self._keys, server_id, self._lifetime_ms, *part[at : at + _REFRESH_AT_ONCE]))
                for link, part in self._shards.split(user_ids).items()
                for at in range(0, len(part), _REFRESH_AT_ONCE)
            )
        )

    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """See `Routes.lookup`. One script call a shard, and those of one moment share a round trip."""
        routes: dict[str, list[str]] = {}
        parts = self._shards.split(user_ids)
        if len(parts) == 1:
            # Without a task for it: nearly always so with few users, always with one shard.
            ((link, part),) = parts.items()
            await self._lookup(link, part, routes)
        else:
            await asyncio.gather(*(self._lookup(link, part, routes) for link, part in parts.items()))
        return routes

    async def generation(self) -> str:
        """See `Routes.generation`."""
        return ",".join(await asyncio.gather(*(link.epoch(self._epoch_key) for link in self._shards.links)))

    async def _lookup(self, link: Link, user_ids: list[str], routes: dict[str, list[str]]) -> None:
        answer = await link.run(_LOOKUP, (), (self._keys, *user_ids))
        at = 0
        while at < len(answer):
            server_id, count = answer[at].decode(), answer[at + 1]
            at += 2
            routes.setdefault(server_id, []).extend([user_ids[index] for index in answer[at : at + count]])
            at += count
