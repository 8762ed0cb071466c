"""Who is in which channels, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from tidings.backends.sqlite.channel_rows import MESSAGES, load_snapshot
from tidings.backends.sqlite.database import Database
from tidings.core.limits import UNREAD_COUNT
from tidings.core.ports import Memberships
from tidings.core.values import ChannelView, Marks

# The head is found in the log itself, by one descent of its tree. Keeping it elsewhere would cost a write a message.
_CHANNELS = """
SELECT channel_id, coalesce(
    (SELECT position FROM entries e WHERE e.channel_id = m.channel_id ORDER BY seq DESC LIMIT 1), 0
) AS head_position
FROM memberships m
WHERE user_id = :user AND until_seq = 0 AND (:all OR (head_position, channel_id) < (:position, :channel))
ORDER BY head_position DESC, channel_id DESC LIMIT :limit
"""
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
        position, channel = after or (0, "")
        asked = {"user": user_id, "all": after is None, "position": position, "channel": channel, "limit": limit}

        def work(connection: sqlite3.Connection) -> Sequence[ChannelView]:
            found = [channel_id for channel_id, _ in connection.execute(_CHANNELS, asked)]
            views = (_view(connection, user_id, channel_id) for channel_id in found)
            return [view for view in views if view is not None]

        return await self._database.read(work)

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
