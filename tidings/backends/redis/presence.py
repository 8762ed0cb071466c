"""Presence on Redis: heartbeats that any presence server may find to be over, and the news of changes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from tidings.backends.redis.pipeline import Pipeline, Script
from tidings.backends.redis.pubsub import PubSub
from tidings.backends.redis.shards import Shards
from tidings.core.errors import Refusal
from tidings.core.ports import PresencePubSub, PresenceStore
from tidings.core.values import Presence

_log = logging.getLogger(__name__)

_EXPIRE_AT_ONCE = 500
_SEEN_SECONDS = 90 * 86_400
"""How long it is known when somebody was last here, unless Redis is wiped before."""

# KEYS of all of them: beats (a sorted set of devices by their last heartbeat), users (of devices), online (how many
# devices by user). ARGV[1]: what the keys of the last sights begin with.
_FORGET = """
local function forget(device, at)
  redis.call('ZREM', KEYS[1], device)
  local user = redis.call('HGET', KEYS[2], device)
  if not user then return false end
  redis.call('HDEL', KEYS[2], device)
  local key = ARGV[1] .. user
  if tonumber(redis.call('GET', key) or 0) < tonumber(at) then
    redis.call('SET', key, at, 'EX', ARGV[2])
  end
  if redis.call('HINCRBY', KEYS[3], user, -1) > 0 then return false end
  redis.call('HDEL', KEYS[3], user)
  return user
end
"""
_BEAT = Script("""
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
if known then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return redis.call('HINCRBY', KEYS[3], ARGV[2], 1) == 1 and 1 or 0
""")
_LEAVE = Script(
    _FORGET
    + """
if not redis.call('ZSCORE', KEYS[1], ARGV[3]) then return false end
return forget(ARGV[3], ARGV[4])
"""
)
_EXPIRE = Script(
    _FORGET
    + """
local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local gone = {}
for i = 1, #silent, 2 do
  local user = forget(silent[i], silent[i + 1])
  if user then gone[#gone + 1] = user end
end
return {#silent / 2, gone}
"""
)
_PUBLISH = Script("for i = 2, #ARGV do redis.call('PUBLISH', ARGV[i], ARGV[1]) end")


class RedisPresenceStore(PresenceStore):
    """The heartbeats of all devices, each on the shard of its user.

    A device that has fallen silent is taken out by one step of Redis, so only one of the presence servers that ask
    gets its user. A server that dies with a user who was returned to it takes the news of that with it.
    """

    def __init__(self, shards: Shards) -> None:
        """Reads and writes `shards`."""
        self._shards = shards
        prefix = f"{shards.prefix}presence:"
        self._keys = (f"{prefix}beats", f"{prefix}users", f"{prefix}online")
        self._online = self._keys[2]
        self._seen = f"{prefix}seen:"

    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """See `PresenceStore.beat`."""
        return bool(await self._shards.of(user_id).run(_BEAT, self._keys, (device_id, user_id, now_ms)))

    async def leave(self, device_id: str, now_ms: int) -> str | None:
        """See `PresenceStore.leave`. All shards are asked, since only one of them knows whose device it is."""
        arguments = (self._seen, _SEEN_SECONDS, device_id, now_ms)
        answers: list[bytes | BaseException | None] = await asyncio.gather(
            *(link.run(_LEAVE, self._keys, arguments) for link in self._shards.links), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, bytes):
                return answer.decode()
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return None

    async def expire(self, before_ms: int) -> Sequence[str]:
        """See `PresenceStore.expire`.

        Raises:
            Refusal: UNAVAILABLE when a shard is away, unless another has given users: nobody else would get those.
        """
        gone: list[str] = []
        answers = await asyncio.gather(
            *(self._expire(link, before_ms, gone) for link in self._shards.links), return_exceptions=True
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

    async def _expire(self, link: Pipeline, before_ms: int, gone: list[str]) -> None:
        arguments = (self._seen, _SEEN_SECONDS, before_ms, _EXPIRE_AT_ONCE)
        count = _EXPIRE_AT_ONCE
        while count == _EXPIRE_AT_ONCE:
            count, users = await link.run(_EXPIRE, self._keys, arguments)
            gone += [user_id.decode() for user_id in users]

    async def _presences(self, link: Pipeline, user_ids: Sequence[str]) -> Sequence[Presence]:
        # In this order: whoever goes offline in between has a last sight already.
        online, seen = await asyncio.gather(
            link.call("HMGET", self._online, *user_ids),
            link.call("MGET", *(self._seen + user_id for user_id in user_ids)),
        )
        return [
            Presence(user_id, False, int(at or 0)) if devices is None else Presence(user_id, True, 0)
            for user_id, devices, at in zip(user_ids, online, seen, strict=True)
        ]


class RedisPresencePubSub(PresencePubSub):
    """News by pub/sub: a channel for each person who is to hear, on that person's shard.

    A channel stands for all pairs that a person is in. One for each pair (A-B, A-C, …) takes as many messages to tell
    of a change, since each watcher is told in either case; but each open stream would subscribe once for every contact
    instead of once, and a contact added while it is open could not be heard of before it has subscribed again, which
    somebody would first have to tell it, on a channel of its own.

    A process is subscribed for those people only who have a stream there.
    """

    def __init__(self, shards: Shards) -> None:
        """Publishes and subscribes at `shards`."""
        self._shards = shards
        self._channel = f"{shards.prefix}presence:of:"
        self._gaps: dict[object, Callable[[], None]] = {}
        self._feeds = {link: PubSub(link, f"{shards.prefix}epoch", self._gap) for link in shards.links}

    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        """See `PresencePubSub.publish`."""
        body = json.dumps([presence.user_id, presence.online, presence.last_seen_ms])
        await asyncio.gather(
            *(
                link.run(_PUBLISH, (), (body, *(self._channel + user_id for user_id in part)))
                for link, part in self._shards.split(watchers).items()
            )
        )

    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See `PresencePubSub.subscribe`.

        Every shard is watched over, not only the one of the person's channel: a state that was lost with another, or a
        change whose news nobody could publish, is missing here as well.
        """
        for feed in self._feeds.values():
            feed.start()

        def heard(body: bytes) -> None:
            notify(Presence(*json.loads(body)))

        remove = await self._feeds[self._shards.of(user_id)].add(self._channel + user_id, heard)
        key = object()
        self._gaps[key] = gap

        def unsubscribe() -> None:
            self._gaps.pop(key, None)
            remove()

        return unsubscribe

    async def close(self) -> None:
        """Ends all subscriptions; the shards stay open."""
        await asyncio.gather(*(feed.close() for feed in self._feeds.values()))

    def _gap(self) -> None:
        for gap in list(self._gaps.values()):
            gap()
