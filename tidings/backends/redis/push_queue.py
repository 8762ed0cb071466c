"""The push queue, on a Redis that answers only when its disk has the write.

The queue consists of sorted sets by due time, hashes and scripts. It does not use Streams, because they lack most of
what the queue promises. A push is due at a moment (a retry in five minutes, a lease that ends), where a consumer group
knows only new entries and idle times. A later message replaces the push that waits for its device and channel, wherever
that is in the queue, and takes its place, where an entry of a stream cannot be changed. And a dead letter is found by
its id. On a stream each of these would need a second structure, to be kept in step with it. With a sorted set for each
provider the head of the queue is one range, a lease is a later score, and every step below is one script, so that it
happens completely or not at all.

The Redis has to run with `appendonly yes` and `appendfsync always`. Give the queue a Redis of its own: one that it
shares with the soft state would be wiped or grow with that. All keys of the queue are on one server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from tidings.backends.redis.pipeline import Argument, AutoPipeline, Script
from tidings.backends.rows import device_push, push_row
from tidings.core.errors import precondition
from tidings.core.ports import DeadLetter, DevicePush, PushQueue, PushQueueDepth, QueuedPush
from tidings.core.ports.push import LONGEST_WAIT_MS
from tidings.core.reasons import Reason
from tidings.core.values import PushProvider

# Keys, after the prefix of all (ARGV[1]):
#   next                the last id given out
#   due:<provider>      ids by when they are due, those under way by when their lease ends
#   queued              ids by when they were enqueued
#   item:<id>           a push: body, provider, line, rank, attempts, claimed (0 or 1)
#   held:<line>         ids by rank, of one device and channel (its line)
#   dead                ids of dead letters by when they died
#   letter:<id>         a dead letter: body, provider, line, rank, attempts, error
#   dead-of:<line>      the id of the one dead letter of a device and channel
# A rank is twice the seq, and one more when the push is silent.
# Ids have leading zeros in sets, so that equal scores are in order of the ids.
_COMMON = """
local p = ARGV[1]
local function padded(id) return string.format('%016d', id) end
local function delete(id)
  local item = redis.call('HMGET', p .. 'item:' .. id, 'provider', 'line')
  if not item[1] then return end
  redis.call('ZREM', p .. 'due:' .. item[1], id)
  redis.call('ZREM', p .. 'queued', id)
  redis.call('ZREM', p .. 'held:' .. item[2], id)
  redis.call('DEL', p .. 'item:' .. id)
end
local function drop(id)
  local line = redis.call('HGET', p .. 'letter:' .. id, 'line')
  if not line then return 0 end
  redis.call('DEL', p .. 'letter:' .. id, p .. 'dead-of:' .. line)
  redis.call('ZREM', p .. 'dead', id)
  return 1
end
local function enqueue(now, provider, line, rank, body)
  local held = redis.call('ZRANGE', p .. 'held:' .. line, 0, -1, 'WITHSCORES')
  for i = 2, #held, 2 do
    if tonumber(held[i]) >= tonumber(rank) then return end
  end
  local queued, due = tonumber(now), tonumber(now)
  for i = 1, #held, 2 do
    local id = held[i]
    local item = redis.call('HMGET', p .. 'item:' .. id, 'provider', 'claimed')
    local due_before = tonumber(redis.call('ZSCORE', p .. 'due:' .. item[1], id))
    if item[2] == '0' or due_before <= tonumber(now) then
      -- The later one takes the place in the line, so that a busy channel is not put off for ever.
      queued = math.min(queued, tonumber(redis.call('ZSCORE', p .. 'queued', id)))
      due = math.min(due, due_before)
      delete(id)
    end
  end
  local id = padded(redis.call('INCR', p .. 'next'))
  redis.call('HSET', p .. 'item:' .. id, 'body', body, 'provider', provider, 'line', line, 'rank', rank,
             'attempts', 0, 'claimed', 0)
  redis.call('ZADD', p .. 'due:' .. provider, due, id)
  redis.call('ZADD', p .. 'queued', queued, id)
  redis.call('ZADD', p .. 'held:' .. line, rank, id)
end
"""
_ENQUEUE = Script(
    _COMMON
    + """
for i = 3, #ARGV, 4 do enqueue(ARGV[2], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
"""
)
_CANCEL = Script(
    _COMMON
    + """
local cancelled = 0
for i = 3, #ARGV do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'held:' .. ARGV[i], '-inf', ARGV[2])) do
    if redis.call('HGET', p .. 'item:' .. id, 'claimed') == '0' then
      delete(id)
      cancelled = cancelled + 1
    end
  end
end
return cancelled
"""
)
_CLAIM = Script(
    _COMMON
    + """
local due = p .. 'due:' .. ARGV[2]
local answer = {}
local latest = string.format('(%.0f', ARGV[3] + ARGV[6])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, latest, '+inf', 'LIMIT', 0, ARGV[5])) do
  redis.call('ZADD', due, ARGV[3], id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])) do
  redis.call('ZADD', due, ARGV[3] + ARGV[4], id)
  redis.call('HSET', p .. 'item:' .. id, 'claimed', 1)
  local item = redis.call('HMGET', p .. 'item:' .. id, 'attempts', 'body')
  answer[#answer + 1] = {id, item[1], item[2], redis.call('ZSCORE', p .. 'queued', id)}
end
return answer
"""
)
_DONE = Script(_COMMON + "delete(padded(ARGV[2]))")
_RETRY = Script(
    _COMMON
    + """
local id = padded(ARGV[2])
local item = redis.call('HMGET', p .. 'item:' .. id, 'provider', 'line')
if not item[1] then return end
if redis.call('ZRANGE', p .. 'held:' .. item[2], -1, -1)[1] ~= id then return delete(id) end
redis.call('ZADD', p .. 'due:' .. item[1], ARGV[3], id)
redis.call('HSET', p .. 'item:' .. id, 'claimed', 0)
redis.call('HINCRBY', p .. 'item:' .. id, 'attempts', ARGV[4])
"""
)
_GIVE_UP = Script(
    _COMMON
    + """
local id = padded(ARGV[2])
local item = redis.call('HMGET', p .. 'item:' .. id, 'body', 'provider', 'line', 'rank', 'attempts')
if not item[1] then return end
delete(id)
local before = redis.call('GET', p .. 'dead-of:' .. item[3])
if before then
  if tonumber(redis.call('HGET', p .. 'letter:' .. before, 'rank')) > tonumber(item[4]) then return end
  drop(before)
end
redis.call('HSET', p .. 'letter:' .. id, 'body', item[1], 'provider', item[2], 'line', item[3], 'rank', item[4],
           'attempts', item[5] + 1, 'error', ARGV[3])
redis.call('SET', p .. 'dead-of:' .. item[3], id)
redis.call('ZADD', p .. 'dead', ARGV[4], id)
"""
)
_DEPTH = Script(
    _COMMON
    + """
local oldest = redis.call('ZRANGE', p .. 'queued', 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', p .. 'queued'), redis.call('ZCARD', p .. 'dead'), oldest[2] or '0'}
"""
)
_DEAD_LETTERS = Script(
    _COMMON
    + """
local answer = {}
local dead = redis.call('ZREVRANGE', p .. 'dead', 0, ARGV[2] - 1, 'WITHSCORES')
for i = 1, #dead, 2 do
  local letter = redis.call('HMGET', p .. 'letter:' .. dead[i], 'body', 'attempts', 'error')
  answer[#answer + 1] = {dead[i], dead[i + 1], unpack(letter)}
end
return answer
"""
)
_REQUEUE = Script(
    _COMMON
    + """
local id = padded(ARGV[2])
local letter = redis.call('HMGET', p .. 'letter:' .. id, 'provider', 'line', 'rank', 'body')
if not letter[1] then return 0 end
enqueue(ARGV[3], unpack(letter))
return drop(id)
"""
)
_DROP = Script(_COMMON + "return drop(padded(ARGV[2]))")


class RedisPushQueue(PushQueue):
    """The push queue on one durable Redis.

    Args:
        pipeline: The Redis server; the caller closes it.
        prefix: How all keys begin.
    """

    def __init__(self, pipeline: AutoPipeline, prefix: str = "tidings:") -> None:
        self._pipeline = pipeline
        self._prefix = f"{prefix}push:"

    async def check_durable(self) -> None:
        """Check that the server answers a write only when its disk has it.

        Raises:
            Refusal: FAILED_PRECONDITION when its settings are others; UNAVAILABLE when it is away or does not tell.
        """
        for name, needed in (("appendonly", "yes"), ("appendfsync", "always")):
            answer = await self._pipeline.call("CONFIG", "GET", name)
            found = answer[1].decode() if answer else "unknown"
            if found != needed:
                raise precondition(
                    f"the Redis for pushes at {self._pipeline.name} has {name} {found}, it needs {needed}",
                    Reason.NOT_DURABLE,
                    setting=name,
                    needed=needed,
                    actual=found,
                )

    async def enqueue(self, pushes: Sequence[DevicePush], now_ms: int) -> None:
        """See `PushQueue.enqueue`."""
        if pushes:
            await self._run(_ENQUEUE, now_ms, *(argument for push in pushes for argument in _arguments(push)))

    async def cancel(self, device_ids: Collection[str], channel_id: str, upto_seq: int) -> int:
        """See `PushQueue.cancel`."""
        lines = (_line(device_id, channel_id) for device_id in device_ids)
        return int(await self._run(_CANCEL, _rank(upto_seq, True), *lines))

    async def claim(self, provider: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        """See `PushQueue.claim`."""
        claimed = await self._run(_CLAIM, int(provider), now_ms, lease_ms, limit, LONGEST_WAIT_MS)
        return [
            QueuedPush(int(push_id), _push(body), int(attempts), int(queued_at_ms))
            for push_id, attempts, body, queued_at_ms in claimed
        ]

    async def next_due_ms(self, provider: PushProvider) -> int | None:
        """See `PushQueue.next_due_ms`."""
        first = await self._pipeline.call("ZRANGE", f"{self._prefix}due:{int(provider)}", 0, 0, "WITHSCORES")
        return int(first[1]) if first else None

    async def done(self, push_id: int) -> None:
        """See `PushQueue.done`."""
        await self._run(_DONE, push_id)

    async def retry(self, push_id: int, at_ms: int, *, failed: bool = True) -> None:
        """See `PushQueue.retry`."""
        await self._run(_RETRY, push_id, at_ms, int(failed))

    async def give_up(self, push_id: int, error: str, now_ms: int) -> None:
        """See `PushQueue.give_up`."""
        await self._run(_GIVE_UP, push_id, error, now_ms)

    async def depth(self) -> PushQueueDepth:
        """See `PushQueue.depth`."""
        waiting, dead, oldest_ms = await self._run(_DEPTH)
        return PushQueueDepth(waiting, dead, int(oldest_ms))

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """See `PushQueue.dead_letters`."""
        return [
            DeadLetter(int(push_id), _push(body), int(attempts), error.decode(), int(died_at_ms))
            for push_id, died_at_ms, body, attempts, error in await self._run(_DEAD_LETTERS, limit)
        ]

    async def requeue(self, push_id: int, now_ms: int) -> bool:
        """See `PushQueue.requeue`."""
        return bool(await self._run(_REQUEUE, push_id, now_ms))

    async def drop(self, push_id: int) -> bool:
        """See `PushQueue.drop`."""
        return bool(await self._run(_DROP, push_id))

    async def _run(self, script: Script, *arguments: Argument) -> Any:
        return await self._pipeline.run(script, (), (self._prefix, *arguments))


def _arguments(push: DevicePush) -> tuple[Argument, ...]:
    """Return the arguments of `enqueue` in Lua for one push."""
    request = push.request
    line = _line(push.device_id, request.channel_id)
    return int(push.provider), line, _rank(*request.rank), json.dumps(push_row(push))


def _line(device_id: str, channel_id: str) -> str:
    return json.dumps([device_id, channel_id])


def _rank(seq: int, silent: bool) -> int:
    """Return `PushRequest.rank` as one number."""
    return 2 * seq + silent


def _push(body: bytes) -> DevicePush:
    return device_push(json.loads(body))
