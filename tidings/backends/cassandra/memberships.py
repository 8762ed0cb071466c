"""Who is in which channels, in Cassandra."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidings.backends.cassandra.buckets import bucket_of
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.backends.cassandra.derived_tables import ACTIVE_WITHIN
from tidings.backends.rows import decode_marks, in_order
from tidings.core.limits import UNREAD_COUNT
from tidings.core.ports import ContactStore, Memberships
from tidings.core.values import (
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    ChannelView,
    Marks,
    Member,
    Role,
)

_STAYS = Statement("SELECT channel_id, until_seq FROM memberships_of_user WHERE user_id = ?")
_ACTIVE = Statement("SELECT channel_id, until_seq, active FROM memberships_of_user WHERE user_id = ?")
_LARGEST_POSITION = (1 << 63) - 1
# Counted within one partition, whose rows are about as many as the limit allows.
_COUNT = Statement("SELECT count(*) FROM memberships_of_user WHERE user_id = ? AND until_seq = 0 ALLOW FILTERING")
_OWNED = Statement(
    "SELECT count(*) FROM memberships_of_user WHERE user_id = ? AND until_seq = 0 AND role = ? ALLOW FILTERING"
)
_CHANNELS = Statement(
    "SELECT channel_id, kind, created_at_ms, head_bucket, state_seq, state_position FROM channels WHERE channel_id IN ?"
)
_HEADS = Statement(
    "SELECT channel_id, seq, position FROM log WHERE channel_id IN ? AND bucket = ? PER PARTITION LIMIT 1"
)
_MEMBERS = Statement(
    "SELECT channel_id, user_id, since_seq, until_seq, role, joined_at_ms, title FROM memberships WHERE channel_id IN ?"
)
_MARKS = Statement("SELECT channel_id, marks FROM receipts WHERE channel_id IN ?")
_MUTED = Statement("SELECT channel_id FROM mutes WHERE channel_id IN ? AND user_id = ?")
_MUTED_BY = Statement("SELECT user_id FROM mutes WHERE channel_id = ?")
_MUTE = Statement("INSERT INTO mutes (channel_id, user_id) VALUES (?, ?)")
_UNMUTE = Statement("DELETE FROM mutes WHERE channel_id = ? AND user_id = ?")

# CQL has no "other than", so the user's own messages are subtracted from all. Both are counted within one partition.
_MESSAGES = "SELECT count(*) FROM log WHERE channel_id = ? AND bucket = ? AND seq > ? AND live = true"
_ALL_SINCE = Statement(f"{_MESSAGES} ALLOW FILTERING")
_BUCKETS_SINCE = Statement(
    "SELECT bucket FROM log WHERE channel_id = ? AND bucket IN ? AND seq > ? AND live = true"
    " PER PARTITION LIMIT 1 ALLOW FILTERING"
)
_OWN_SINCE = Statement(f"{_MESSAGES} AND author_id = ? ALLOW FILTERING")

# How many partitions are looked through for messages in one request. Most often the last one has what is unread.
_LOOKED_THROUGH = 32

# How many partitions one request asks for: far fewer requests, and still a small one for the node that takes it.
_TOGETHER = 50


@dataclass(slots=True)
class _Channel:
    """A channel with its open partition and its head."""

    record: ChannelRecord
    bucket: int
    head_seq: int
    head_position: int


class CassandraMemberships(Memberships):
    """The memberships in Cassandra.

    Args:
        cassandra: The storage.
        contacts: Tells who has blocked whom.
    """

    def __init__(self, cassandra: CassandraClient, contacts: ContactStore) -> None:
        self._cassandra = cassandra
        self._contacts = contacts

    async def channel_of(self, user_id: str, channel_id: str) -> ChannelView | None:
        """See `Memberships.channel_of`."""
        views = await self._views(user_id, await self._channels([channel_id]))
        return views[0] if views else None

    async def channels_of(self, user_id: str, after: tuple[int, str] | None, limit: int) -> Sequence[ChannelView]:
        """See `Memberships.channels_of`."""
        candidates = await self._by_activity(user_id, after)
        page: list[_Channel] = []
        read = 0
        while read < len(candidates) and (len(page) < limit or _at_most(*candidates[read]) > _activity(page[-1])):
            some = [channel_id for _, channel_id in candidates[read : read + limit]]
            read += len(some)
            page += [each for each in await self._channels(some) if after is None or _activity(each) < after]
            page = sorted(page, key=_activity, reverse=True)[:limit]
        return await self._views(user_id, page)

    async def _by_activity(self, user_id: str, after: tuple[int, str] | None) -> Sequence[tuple[int, str]]:
        """Return the channels that may come after a place, as (active, channel_id), the latest first."""
        rows = await self._cassandra.execute(_ACTIVE, (user_id,))
        # Of those that were written to last before there was that column only their log can tell.
        found = [
            (_LARGEST_POSITION if active is None else active, channel_id)
            for channel_id, until_seq, active in rows
            if not until_seq and (after is None or active is None or active <= after[0])
        ]
        return sorted(found, reverse=True)

    async def channel_counts(self, user_ids: Collection[str]) -> Mapping[str, int]:
        """See `Memberships.channel_counts`."""
        counts = await asyncio.gather(*(self._cassandra.execute(_COUNT, (each,)) for each in user_ids))
        return {user_id: number for user_id, ((number,),) in zip(user_ids, counts, strict=True)}

    async def owned_count(self, user_id: str) -> int:
        """See `Memberships.owned_count`."""
        ((number,),) = await self._cassandra.execute(_OWNED, (user_id, Role.OWNER))
        return int(number)

    async def set_mute(self, user_id: str, channel_id: str, muted: bool) -> None:
        """See `Memberships.set_mute`."""
        await self._cassandra.execute(_MUTE if muted else _UNMUTE, (channel_id, user_id))

    async def muted_by(self, channel_id: str, user_ids: Collection[str]) -> Collection[str]:
        """See `Memberships.muted_by`."""
        muting = {user_id for (user_id,) in await self._cassandra.execute(_MUTED_BY, (channel_id,))}
        return muting & set(user_ids)

    async def _channels(self, channel_ids: Sequence[str]) -> Sequence[_Channel]:
        """Read some channels with their heads."""
        channels: dict[str, _Channel] = {}
        by_bucket: defaultdict[int, list[str]] = defaultdict(list)
        for row in await self._of_channels(_CHANNELS, channel_ids):
            channel_id, kind, created_at_ms, bucket, seq, position = row
            record = ChannelRecord(channel_id, ChannelKind(kind), created_at_ms)
            # The row's seq is the head, unless the open partition has an entry.
            channels[channel_id] = _Channel(record, bucket, seq, position)
            by_bucket[bucket].append(channel_id)
        heads = await asyncio.gather(*(self._of_channels(_HEADS, ids, bucket) for bucket, ids in by_bucket.items()))
        for channel_id, seq, position in (row for rows in heads for row in rows):
            channels[channel_id].head_seq, channels[channel_id].head_position = seq, position
        return list(channels.values())

    async def _views(self, user_id: str, channels: Sequence[_Channel]) -> Sequence[ChannelView]:
        """Read everything else that a user sees of channels, leaving out those that the user is not in."""
        ids = [each.record.channel_id for each in channels]
        member_rows, marks_rows, muted_rows = await asyncio.gather(
            self._of_channels(_MEMBERS, ids),
            self._of_channels(_MARKS, ids),
            self._of_channels(_MUTED, ids, user_id),
        )
        titles, members = _members(member_rows)
        marks = {channel_id: decode_marks(blob) for channel_id, blob in marks_rows}
        muted = {channel_id for (channel_id,) in muted_rows}
        present = [each for each in channels if user_id in members[each.record.channel_id]]
        blocked = await self._blocked(user_id, [each.record for each in present], members)
        unread = await asyncio.gather(
            *(
                self._unread(user_id, each, members[each.record.channel_id][user_id], marks.get(each.record.channel_id))
                for each in present
            )
        )
        return [
            ChannelView(
                ChannelSnapshot(
                    channel.record,
                    titles.get(channel.record.channel_id, ""),
                    in_order(members[channel.record.channel_id].values()),
                    channel.head_seq,
                    channel.head_position,
                    marks.get(channel.record.channel_id, {}),
                    channel.record.channel_id in blocked,
                ),
                channel.record.channel_id in muted,
                unread_count,
            )
            for channel, unread_count in zip(present, unread, strict=True)
        ]

    async def _blocked(
        self, user_id: str, records: Iterable[ChannelRecord], members: Mapping[str, Mapping[str, Member]]
    ) -> Collection[str]:
        """Return the direct channels of a user in which either has blocked the other."""
        others = {
            record.channel_id: next(each for each in members[record.channel_id] if each != user_id)
            for record in records
            if record.kind is ChannelKind.DIRECT
        }
        if not others:
            return ()
        apart = await self._contacts.blocked_either_way(user_id, set(others.values()))
        return {channel_id for channel_id, other in others.items() if other in apart}

    async def _unread(self, user_id: str, channel: _Channel, me: Member, marks: Mapping[str, Marks] | None) -> int:
        read_seq = max((marks or {}).get(user_id, Marks()).read_seq, me.since_seq - 1)
        first, last = bucket_of(read_seq + 1), bucket_of(channel.head_seq)
        found = await self._count_unread(user_id, channel, last, read_seq) if channel.head_seq > read_seq else 0
        while last > first and found < UNREAD_COUNT:
            low = max(first, last - _LOOKED_THROUGH)
            asked = channel.record.channel_id, list(range(low, last)), read_seq
            buckets = [bucket for (bucket,) in await self._cassandra.execute(_BUCKETS_SINCE, asked)]
            for bucket in sorted(buckets, reverse=True):
                found += await self._count_unread(user_id, channel, bucket, read_seq)
                if found >= UNREAD_COUNT:
                    break
            last = low
        return min(found, UNREAD_COUNT)

    async def _count_unread(self, user_id: str, channel: _Channel, bucket: int, read_seq: int) -> int:
        asked = channel.record.channel_id, bucket, read_seq
        ((everyones,),), ((own,),) = await asyncio.gather(
            self._cassandra.execute(_ALL_SINCE, asked), self._cassandra.execute(_OWN_SINCE, (*asked, user_id))
        )
        return int(everyones - own)

    async def _of_channels(self, statement: Statement, channel_ids: Sequence[str], *values: object) -> Sequence[Row]:
        asked = [(channel_ids[at : at + _TOGETHER], *values) for at in range(0, len(channel_ids), _TOGETHER)]
        return await self._cassandra.execute_many(statement, asked)


async def channels_with(cassandra: CassandraClient, user_id: str) -> Sequence[str]:
    """Return the ids of the channels that a user is in."""
    return [channel_id for channel_id, until_seq in await cassandra.execute(_STAYS, (user_id,)) if not until_seq]


def _at_most(active: int, channel_id: str) -> tuple[int, str]:
    """Return the highest activity that a channel may have, and all that were active before it."""
    # One that has no entry yet is where it belongs.
    return (active + ACTIVE_WITHIN, "\uffff") if active else (0, channel_id)


def _activity(channel: _Channel) -> tuple[int, str]:
    return channel.head_position, channel.record.channel_id


def _members(rows: Iterable[Row]) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, Member]]]:
    """Return the titles and the present members of channels."""
    titles: dict[str, str] = {}
    members: defaultdict[str, dict[str, Member]] = defaultdict(dict)
    for channel_id, user_id, since_seq, until_seq, role, joined_at_ms, title in rows:
        titles[channel_id] = title or ""
        if user_id is not None and not until_seq:
            members[channel_id][user_id] = Member(user_id, Role(role), since_seq, joined_at_ms)
    return titles, members
