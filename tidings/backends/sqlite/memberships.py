"""Who is in which channels, in SQLite."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from tidings.backends.sqlite.channel_rows import ACTIVE_WITHIN, MESSAGES, load_snapshot
from tidings.backends.sqlite.database import Database
from tidings.core.limits import UNREAD_COUNT
from tidings.core.ports import Memberships
from tidings.core.values import ChannelView, Marks

_LARGEST_POSITION = (1 << 63) - 1
# The index has them by about when they were active; the log says where it ends.
_CHANNELS = """
SELECT channel_id, active, coalesce(
    (SELECT position FROM entries e WHERE e.channel_id = m.channel_id ORDER BY seq DESC LIMIT 1), 0
)
FROM memberships m INDEXED BY channels_of_user
WHERE user_id = ? AND until_seq = 0 AND active <= ? ORDER BY active DESC, channel_id DESC
"""
# Triggers keep the counts.
_COUNTS = "SELECT user_id, channels FROM channel_counts WHERE user_id IN (SELECT value FROM json_each(?))"
_OWNED = "SELECT owned FROM channel_counts WHERE user_id = ?"
_UNREAD = f"""
SELECT count(*) FROM (SELECT 1 FROM {MESSAGES.format(gone=0)} AND seq > :read AND author_id <> :user LIMIT :most)
"""


class SqliteMemberships(Memberships):
    """The memberships in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def channel_of(self, user_id: str, channel_id: str) -> ChannelView | None:
        """See `Memberships.channel_of`."""
        return await self._database.read(lambda connection: _view(connection, user_id, channel_id))

    async def channels_of(self, user_id: str, after: tuple[int, str] | None, limit: int) -> Sequence[ChannelView]:
        """See `Memberships.channels_of`."""

        def work(connection: sqlite3.Connection) -> Sequence[ChannelView]:
            found = _page(connection, user_id, after, limit)
            views = (_view(connection, user_id, channel_id) for _, channel_id in found)
            return [view for view in views if view is not None]

        return await self._database.read(work)

    async def channel_counts(self, user_ids: Collection[str]) -> Mapping[str, int]:
        """See `Memberships.channel_counts`."""
        asked = (json.dumps(list(user_ids)),)
        counts = await self._database.read(lambda connection: dict(connection.execute(_COUNTS, asked)))
        return {user_id: counts.get(user_id, 0) for user_id in user_ids}

    async def owned_count(self, user_id: str) -> int:
        """See `Memberships.owned_count`."""
        row = await self._database.read(lambda connection: connection.execute(_OWNED, (user_id,)).fetchone())
        return row[0] if row else 0

    async def set_mute(self, user_id: str, channel_id: str, muted: bool) -> None:
        """See `Memberships.set_mute`."""
        statement = (
            "INSERT OR IGNORE INTO mutes VALUES (?, ?)"
            if muted
            else "DELETE FROM mutes WHERE channel_id = ? AND user_id = ?"
        )
        await self._database.write(lambda connection: connection.execute(statement, (channel_id, user_id)))

    async def muted_by(self, channel_id: str, user_ids: Collection[str]) -> Collection[str]:
        """See `Memberships.muted_by`."""
        muting = await self._database.read(
            lambda connection: {
                user_id
                for (user_id,) in connection.execute("SELECT user_id FROM mutes WHERE channel_id = ?", (channel_id,))
            }
        )
        return muting & set(user_ids)


def _page(
    connection: sqlite3.Connection, user_id: str, after: tuple[int, str] | None, limit: int
) -> Sequence[tuple[int, str]]:
    """Find the channels of a page, as (head_position, channel_id), without reading those that come after it."""
    page: list[tuple[int, str]] = []
    for channel_id, active, head in connection.execute(_CHANNELS, (user_id, after[0] if after else _LARGEST_POSITION)):
        # No channel that follows has its head beyond this. One that has no entry yet is where it belongs.
        most = (active + ACTIVE_WITHIN, channel_id) if active else (0, channel_id)
        if len(page) == limit and most < page[0]:
            break
        if after is None or (head, channel_id) < after:
            (heapq.heappushpop if len(page) == limit else heapq.heappush)(page, (head, channel_id))
    return sorted(page, reverse=True)


def _view(connection: sqlite3.Connection, user_id: str, channel_id: str) -> ChannelView | None:
    snapshot = load_snapshot(connection, channel_id)
    me = next((each for each in snapshot.members if each.user_id == user_id), None) if snapshot else None
    if snapshot is None or me is None:
        return None
    muted = connection.execute("SELECT 1 FROM mutes WHERE channel_id = ? AND user_id = ?", (channel_id, user_id))
    read_seq = max(snapshot.marks.get(user_id, Marks()).read_seq, me.since_seq - 1)
    (unread,) = connection.execute(
        _UNREAD, {"channel": channel_id, "read": read_seq, "user": user_id, "most": UNREAD_COUNT}
    ).fetchone()
    return ChannelView(snapshot, muted.fetchone() is not None, unread)
