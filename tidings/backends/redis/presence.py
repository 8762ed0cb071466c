"""Presence on Redis: heartbeats that any presence server may find to be over, and pub/sub of changes."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence

from tidings.backends.redis.pipeline import AutoPipeline, Script
from tidings.backends.redis.pubsub import GapListeners, PubSubConnection
from tidings.backends.redis.shards import Shards
from tidings.core.errors import Refusal
from tidings.core.ports import PresencePubSub, PresenceStore
from tidings.core.values import Presence

_log = logging.getLogger(__name__)

_EXPIRE_AT_ONCE = 500
_SEEN_SECONDS = 90 * 86_400
"""How long Redis keeps when a user was last seen, unless it is wiped before."""

# KEYS of all scripts: beats (a sorted set of devices by their last heartbeat), users (of devices), online (how many
# devices by user), clock. ARGV[1]: the name of the caller; ARGV[2]: its time.
#
# Heartbeats are scored by a time that all callers share, for their clocks may be apart. It begins with the first
# caller's. Each that comes gets the distance at which it stands to the shared time just then, and from then on moves it
# forward as its own time passes. So a caller whose clock is a minute ahead sets nobody offline, and the Redis server's
# own clock is never asked. The hash `clock` has the shared time as `now`, and the distances by the callers' names.
_TIME = """
local function shared(caller, time)
  local known = redis.call('HMGET', KEYS[4], 'now', caller)
  local now, distance = tonumber(known[1] or time), tonumber(known[2])
  if not distance then
    -- Every start of a server is another caller. Whoever is forgotten comes anew.
    if redis.call('HLEN', KEYS[4]) > 1000 then redis.call('DEL', KEYS[4]) end
    distance = now - time
    redis.call('HSET', KEYS[4], 'now', now, caller, distance)
  end
  if time + distance > now then
    now = time + distance
    redis.call('HSET', KEYS[4], 'now', now)
  end
  return now, distance
end
local now, distance = shared(ARGV[1], tonumber(ARGV[2]))
"""
# ARGV[3]: the prefix of the keys that hold when a user was last seen; ARGV[4]: for how long.
_FORGET = """
local function forget(device, at)
  redis.call('ZREM', KEYS[1], device)
  local user = redis.call('HGET', KEYS[2], device)
  if not user then return false end
  redis.call('HDEL', KEYS[2], device)
  local key = ARGV[3] .. user
  if tonumber(redis.call('GET', key) or 0) < at then
    redis.call('SET', key, at, 'EX', ARGV[4])
  end
  if redis.call('HINCRBY', KEYS[3], user, -1) > 0 then return false end
  redis.call('HDEL', KEYS[3], user)
  return user
end
"""
_BEAT = Script(
    _TIME
    + """
local known = redis.call('ZSCORE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[3])
if known then return 0 end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return redis.call('HINCRBY', KEYS[3], ARGV[4], 1) == 1 and 1 or 0
"""
)
_LEAVE = Script(
    _TIME
    + _FORGET
    + """
if not redis.call('ZSCORE', KEYS[1], ARGV[5]) then return false end
return forget(ARGV[5], tonumber(ARGV[2]))
"""
)
_EXPIRE = Script(
    _TIME
    + _FORGET
    + """
local before = string.format('(%.0f', now - ARGV[5])
local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'WITHSCORES', 'LIMIT', 0, ARGV[6])
local gone = {}
for i = 1, #silent, 2 do
  local user = forget(silent[i], silent[i + 1] - distance)
  if user then gone[#gone + 1] = user end
end
return {#silent / 2, gone}
"""
)
_PUBLISH = Script("for i = 2, #ARGV do redis.call('PUBLISH', ARGV[i], ARGV[1]) end")


class RedisPresenceStore(PresenceStore):
    """The heartbeats of all devices, each on the shard of its user.

    A silent device is taken out by one step of Redis, so its user is returned to only one of the presence servers that
    ask. If that server dies before it has published the change, nobody hears of it.

    Args:
        shards: The Redis servers; the caller closes them.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        prefix = f"{shards.prefix}presence:"
        self._keys = (f"{prefix}beats", f"{prefix}users", f"{prefix}online", f"{prefix}clock")
        self._name = secrets.token_hex(8)
        self._online = self._keys[2]
        self._seen = f"{prefix}seen:"

    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """See `PresenceStore.beat`."""
        return bool(await self._shards.of(user_id).run(_BEAT, self._keys, (self._name, now_ms, device_id, user_id)))

    async def leave(self, device_id: str, now_ms: int) -> str | None:
        """See `PresenceStore.leave`. All shards are asked, because only one of them knows the user of the device."""
        arguments = (self._name, now_ms, self._seen, _SEEN_SECONDS, device_id)
        answers: list[bytes | BaseException | None] = await asyncio.gather(
            *(pipeline.run(_LEAVE, self._keys, arguments) for pipeline in self._shards.pipelines),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, bytes):
                return answer.decode()
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return None

    async def expire(self, now_ms: int, silent_ms: int) -> Sequence[str]:
        """See `PresenceStore.expire`.

        Raises:
            Refusal: UNAVAILABLE when a shard is away and no other shard has returned a user. A user that a shard has
                returned must be passed on, because no other caller gets it.
        """
        gone: list[str] = []
        answers = await asyncio.gather(
            *(self._expire(pipeline, now_ms, silent_ms, gone) for pipeline in self._shards.pipelines),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                if not gone or not isinstance(answer, Refusal):
                    raise answer
                _log.warning("silent devices are looked for on some shards only: %s", answer)
        return gone

    async def presences(self, user_ids: Collection[str]) -> Mapping[str, Presence]:
        """See `PresenceStore.presences`."""
        parts = await asyncio.gather(*(self._presences(*part) for part in self._shards.split(user_ids).items()))
        found = {presence.user_id: presence for part in parts for presence in part}
        return {user_id: found[user_id] for user_id in user_ids}

    async def _expire(self, pipeline: AutoPipeline, now_ms: int, silent_ms: int, gone: list[str]) -> None:
        arguments = (self._name, now_ms, self._seen, _SEEN_SECONDS, silent_ms, _EXPIRE_AT_ONCE)
        count = _EXPIRE_AT_ONCE
        while count == _EXPIRE_AT_ONCE:
            count, users = await pipeline.run(_EXPIRE, self._keys, arguments)
            gone += [user_id.decode() for user_id in users]

    async def _presences(self, pipeline: AutoPipeline, user_ids: Sequence[str]) -> Sequence[Presence]:
        # In this order: a user who goes offline in between has a time of the last sight already.
        online, seen = await asyncio.gather(
            pipeline.call("HMGET", self._online, *user_ids),
            pipeline.call("MGET", *(self._seen + user_id for user_id in user_ids)),
        )
        return [
            Presence(user_id, False, int(at or 0)) if devices is None else Presence(user_id, True, 0)
            for user_id, devices, at in zip(user_ids, online, seen, strict=True)
        ]


class RedisPresencePubSub(PresencePubSub):
    """Changes of presence by pub/sub: one channel for each watcher, on the watcher's shard.

    A watcher's channel carries the changes of all their contacts. A channel for each pair (A-B, A-C, …) would take as
    many messages, since each watcher is told in either case. But each open stream would subscribe once for every
    contact instead of once. And a contact added while the stream is open would be silent until the stream subscribes
    again, which it would have to be told on a channel of its own.

    A process subscribes only for people who have a stream there.

    Args:
        shards: The Redis servers; the caller closes them.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._channel = f"{shards.prefix}presence:of:"
        self._gaps = GapListeners()
        epoch_key = f"{shards.prefix}epoch"
        self._pubsubs = {each: PubSubConnection(each, epoch_key, self._gaps.notify) for each in shards.pipelines}

    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        """See `PresencePubSub.publish`."""
        body = json.dumps([presence.user_id, presence.online, presence.last_seen_ms])
        await asyncio.gather(
            *(
                pipeline.run(_PUBLISH, (), (body, *(self._channel + user_id for user_id in part)))
                for pipeline, part in self._shards.split(watchers).items()
            )
        )

    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See `PresencePubSub.subscribe`.

        Every shard is watched for gaps, not only the one of the watcher's channel: heartbeats that were lost with
        another shard, or a change that could not be published there, are missing here as well.
        """
        for pubsub in self._pubsubs.values():
            pubsub.start()

        def receive(body: bytes) -> None:
            notify(Presence(*json.loads(body)))

        unsubscribe = await self._pubsubs[self._shards.of(user_id)].add(self._channel + user_id, receive)
        return self._gaps.add(gap, unsubscribe)

    async def close(self) -> None:
        """End all subscriptions; the shards stay open."""
        await asyncio.gather(*(pubsub.close() for pubsub in self._pubsubs.values()))
