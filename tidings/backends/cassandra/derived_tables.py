"""The tables in Cassandra that follow from the logs: who is in which channel, titles, and texts that were deleted.

They are written after the log. The time of writing is the number of an entry, so a write that is repeated or comes late
does no harm: a value from a later entry stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidings.backends.cassandra.buckets import by_bucket
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.core import positions
from tidings.core.values import Member, MembershipChange

_DERIVED = Statement("UPDATE channels USING TIMESTAMP ? SET derived_seq = ? WHERE channel_id = ?")
_MEMBERSHIP = Statement(
    "INSERT INTO memberships (channel_id, user_id, since_seq, until_seq, role, joined_at_ms)"
    " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_MEMBERSHIP_OF_USER = Statement(
    "INSERT INTO memberships_of_user (user_id, channel_id, since_seq, until_seq, role, joined_at_ms, active)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_ACTIVE = Statement(
    "UPDATE memberships_of_user USING TIMESTAMP ? SET active = ? WHERE user_id = ? AND channel_id = ? AND since_seq = ?"
)
_ACTIVE_OF = Statement("SELECT until_seq, active FROM memberships_of_user WHERE user_id IN ? AND channel_id = ?")
# Rows of several partitions in one request: with more, Cassandra warns.
_PARTITIONS = 10

ACTIVE_WITHIN = positions.span(10_000)
"""How far the end of a log may be beyond `memberships_of_user.active`, so that a busy group does not write those rows
with every message."""
_TITLE = Statement("UPDATE memberships USING TIMESTAMP ? SET title = ? WHERE channel_id = ?")
_REDACTED = Statement(
    "UPDATE log SET body = ?, live = false WHERE channel_id = ? AND bucket = ? AND seq = ? IF EXISTS", conditional=True
)


@dataclass(slots=True)
class Effects:
    """The changes of batches outside of their own partition of the log."""

    seq: int
    """The first entry of the last batch; 0 for the members of a direct channel, who have no entry."""
    members: Sequence[MembershipChange] = ()
    title: str | None = None
    redactions: Mapping[int, bytes] = field(default_factory=dict)
    """Bodies to replace, by seq."""

    def __bool__(self) -> bool:
        return bool(self.members or self.redactions or self.title is not None)

    def followed_by(self, later: Effects) -> Effects:
        """Combine these effects with those of a later batch."""
        return Effects(
            later.seq,
            latest((*self.members, *later.members)),
            self.title if later.title is None else later.title,
            {**self.redactions, **later.redactions},
        )


class DerivedTables:
    """Writes the tables that follow from the logs.

    Args:
        cassandra: The storage.
    """

    def __init__(self, cassandra: CassandraClient) -> None:
        self._cassandra = cassandra

    async def write(self, channel_id: str, effects: Effects, upto: int, position: int) -> None:
        """Write the effects of batches, and note in the channel's row that this is done.

        Args:
            channel_id: The channel.
            effects: The effects. Nothing is written when there are none.
            upto: The last entry of the batches.
            position: Its position.
        """
        if not effects:
            return
        at = upto + 1
        of_channel: list[tuple[Statement, Row]] = [
            (_MEMBERSHIP, (channel_id, each.user_id, each.since_seq, each.until_seq, each.role, each.joined_at_ms, at))
            for each in effects.members
        ]
        if effects.title is not None:
            of_channel.append((_TITLE, (at, effects.title, channel_id)))
        writes = [
            self._cassandra.execute(
                _MEMBERSHIP_OF_USER,
                (each.user_id, channel_id, each.since_seq, each.until_seq, each.role, each.joined_at_ms, position, at),
            )
            for each in effects.members
        ]
        if of_channel:
            writes.append(self._cassandra.batch(of_channel))
        await asyncio.gather(*writes, self.redact(channel_id, effects.redactions))
        await self._cassandra.execute(_DERIVED, (at, effects.seq, channel_id))

    async def active(self, channel_id: str, user_ids: Collection[str]) -> int:
        """Return up to where all members of a channel have been told that it is active; 0 when one has not been."""
        rows = await self._cassandra.execute(_ACTIVE_OF, (list(user_ids), channel_id))
        return min((active or 0 for until_seq, active in rows if not until_seq), default=0)

    async def note_active(self, channel_id: str, members: Iterable[Member], position: int) -> None:
        """Note for the members of a channel that its log ends at a position, or soon after it."""
        # The position is the time of writing as well: it is beyond that of the row, which is a seq.
        writes = [(_ACTIVE, (position, position, each.user_id, channel_id, each.since_seq)) for each in members]
        requests = (writes[at : at + _PARTITIONS] for at in range(0, len(writes), _PARTITIONS))
        await asyncio.gather(*map(self._cassandra.batch, requests))

    async def redact(self, channel_id: str, redactions: Mapping[int, bytes]) -> None:
        """Replace the bodies of entries in the log."""
        for bucket, seqs in by_bucket(redactions).items():
            await self._cassandra.batch(
                [(_REDACTED, (redactions[seq], channel_id, bucket, seq)) for seq in seqs], conditional=True
            )


def latest(changes: Iterable[MembershipChange]) -> Sequence[MembershipChange]:
    """Keep only the last change of each stay, in order."""
    return list({(each.user_id, each.since_seq): each for each in changes}.values())
