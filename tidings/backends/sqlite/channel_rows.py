"""Reads of the channels' tables in SQLite that several ports need."""

from __future__ import annotations

import sqlite3

from tidings.backends.rows import decode_marks
from tidings.core import positions
from tidings.core.values import (
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    Member,
    Role,
)

# The indexes have to be named. Without statistics, the planner takes the primary key instead, and reads every entry of
# the channel to find its messages, or the changes of one of them. Both hold apart what has lost its text (`gone`).
MESSAGES = (
    f"entries INDEXED BY messages WHERE channel_id = :channel AND kind = {EntryKind.MESSAGE:d} AND gone = {{gone}}"
)
CHANGES_OF_MESSAGE = (
    "entries INDEXED BY changes WHERE channel_id = :channel AND target_seq = :seq"
    f" AND kind IN ({EntryKind.EDIT:d}, {EntryKind.DELETION:d}) AND gone = {{gone}}"
)

ACTIVE_WITHIN = positions.span(1_000)
"""How far the end of a log may be beyond `memberships.active`. A busy group of 100 writes those 100 rows once a second,
not with every message."""


def load_snapshot(connection: sqlite3.Connection, channel_id: str) -> ChannelSnapshot | None:
    """Read a channel with its members, head and receipts; None when there is no such channel."""
    channel = connection.execute(
        "SELECT kind, title, created_at_ms FROM channels WHERE channel_id = ?", (channel_id,)
    ).fetchone()
    if channel is None:
        return None
    kind, title, created_at_ms = channel
    members = tuple(
        Member(user_id, Role(role), since_seq, joined_at_ms)
        for user_id, role, since_seq, joined_at_ms in connection.execute(
            "SELECT user_id, role, since_seq, joined_at_ms FROM memberships"
            " WHERE channel_id = ? AND until_seq = 0 ORDER BY since_seq, role DESC, user_id",
            (channel_id,),
        )
    )
    head = connection.execute(
        "SELECT seq, position FROM entries WHERE channel_id = ? ORDER BY seq DESC LIMIT 1", (channel_id,)
    ).fetchone()
    receipts = connection.execute("SELECT marks FROM receipts WHERE channel_id = ?", (channel_id,)).fetchone()
    blocked = kind == ChannelKind.DIRECT and _blocked(connection, members)
    head_seq, head_position = head or (0, 0)
    return ChannelSnapshot(
        ChannelRecord(channel_id, ChannelKind(kind), created_at_ms),
        title,
        members,
        head_seq,
        head_position,
        decode_marks(receipts[0]) if receipts else {},
        blocked,
    )


def _blocked(connection: sqlite3.Connection, members: tuple[Member, ...]) -> bool:
    one, other = (member.user_id for member in members)
    return (
        connection.execute(
            "SELECT 1 FROM blocks WHERE (user_id = ?1 AND blocked_id = ?2) OR (user_id = ?2 AND blocked_id = ?1)",
            (one, other),
        ).fetchone()
        is not None
    )
