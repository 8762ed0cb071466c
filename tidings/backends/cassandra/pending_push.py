"""Which channels wait for a decision about push, in Cassandra."""

from __future__ import annotations

import itertools
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.core.ports import PendingPush

# Rows come and go. They are spread so that no partition gathers more deleted rows than can be read over.
_SHARDS = 256

_ADD = Statement("INSERT INTO pending_push (shard, channel_id, next_seq, wake) VALUES (?, ?, ?, ?)")
_REMOVE = Statement("DELETE FROM pending_push WHERE shard = ? AND channel_id = ? AND next_seq = ? AND wake = ?")
_OF_SHARD = Statement("SELECT channel_id, next_seq, wake FROM pending_push WHERE shard = ?")
_OF_CHANNEL = Statement("SELECT next_seq, wake FROM pending_push WHERE shard = ? AND channel_id = ?")


@dataclass(frozen=True, slots=True)
class Wake:
    """One row: a channel waits for a decision from a seq on."""

    next_seq: int
    name: str
    """A unique name, so that no server takes back a row that another one has written."""


class CassandraPendingPush(PendingPush):
    """The channels that wait for a decision about push, in Cassandra.

    A decision takes back the rows that this object has read or written, and no others. So a former sequencer that comes
    late cannot take back the row of its successor.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra
        self._known: defaultdict[str, set[Wake]] = defaultdict(set)
        self._writer = uuid.uuid4().hex
        self._numbers = itertools.count()

    async def wake(self, channel_id: str, next_seq: int) -> Wake:
        """Note that a channel waits, before the entries for which it waits are written."""
        wake = self._new(next_seq)
        self._known[channel_id].add(wake)
        await self._cassandra.execute(_ADD, _values(channel_id, wake))
        return wake

    async def take_back(self, channel_id: str, wake: Wake) -> None:
        """Take a row back whose entries have not been written after all."""
        await self._replace(channel_id, [wake])

    async def channels(self) -> Mapping[str, int]:
        """See `PendingPush.channels`."""
        found: dict[str, int] = {}
        shards = [(shard,) for shard in range(_SHARDS)]
        for channel_id, next_seq, name in await self._cassandra.execute_many(_OF_SHARD, shards):
            self._known[channel_id].add(Wake(next_seq, name))
            found[channel_id] = min(next_seq, found.get(channel_id, next_seq))
        return found

    async def decided(self, channel_id: str, next_seq: int | None) -> None:
        """See `PendingPush.decided`."""
        wakes = list(self._known.get(channel_id, ()))
        if not wakes:
            rows = await self._cassandra.execute(_OF_CHANNEL, (_shard(channel_id), channel_id))
            wakes = [Wake(*row) for row in rows]
        await self._replace(channel_id, wakes, None if next_seq is None else self._new(next_seq))

    async def _replace(self, channel_id: str, wakes: Iterable[Wake], by: Wake | None = None) -> None:
        writes = [(_REMOVE, _values(channel_id, each)) for each in wakes]
        if by is not None:
            writes.append((_ADD, _values(channel_id, by)))
            self._known[channel_id].add(by)
        if writes:
            await self._cassandra.batch(writes)
        known = self._known.get(channel_id)
        if known is not None:
            known.difference_update(wakes)
            if not known:
                del self._known[channel_id]

    def _new(self, next_seq: int) -> Wake:
        return Wake(next_seq, f"{self._writer}-{next(self._numbers)}")


def _shard(channel_id: str) -> int:
    return zlib.crc32(channel_id.encode()) % _SHARDS


def _values(channel_id: str, wake: Wake) -> Row:
    return _shard(channel_id), channel_id, wake.next_seq, wake.name
