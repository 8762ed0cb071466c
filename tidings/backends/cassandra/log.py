"""The channels' logs in Cassandra.

A log is divided into partitions of 1,000 entries. A batch is one conditional write to one of them, which is done only
if its first entry is not there yet. Entries have no gaps, so that decides for all of them, and a server that does not
know that another one has taken the channel over cannot write. Partition b + 1 is opened, before anything is written to
it, by a conditional write to the channel's row, which then also holds the state of the channel at that point. So a
channel is loaded from that row and the open partition.

Messages sent lately are known in memory, by author and client message id, and are read from the log when the channel is
loaded (`log_tail.py`). Other tables follow from the log (`derived_tables.py`). They are written after it, before anyone
hears of the batch; if that fails, the server that loads the channel next writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from cassandra.query import UNSET_VALUE

from tidings.backends.cassandra.buckets import bucket_of
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.backends.cassandra.derived_tables import ACTIVE_WITHIN, DerivedTables, Effects, latest
from tidings.backends.cassandra.inflight_limit import InflightLimit
from tidings.backends.cassandra.log_reader import LogReader
from tidings.backends.cassandra.log_tail import MOST_SENT, REMEMBERED_MS, Key, LogTail, LogTails, batch_capacity
from tidings.backends.cassandra.pending_push import CassandraPendingPush, Wake
from tidings.backends.rows import decode_marks, encode_marks
from tidings.core import positions
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import ChannelLog, ContactStore
from tidings.core.values import (
    Appended,
    AppendOutcome,
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    HeadMoved,
    LogBatch,
    LogEntry,
    Marks,
    Member,
    MembershipChange,
    Role,
)

_CREATE = Statement(
    "INSERT INTO channels (channel_id, kind, created_at_ms, head_bucket, state_seq, state_position, title, members)"
    " VALUES (?, ?, ?, 0, 0, 0, '', ?) IF NOT EXISTS",
    conditional=True,
)
_OPEN_BUCKET = Statement(
    "UPDATE channels SET head_bucket = ?, state_seq = ?, state_position = ?, title = ?, members = ?"
    " WHERE channel_id = ? IF head_bucket = ?",
    conditional=True,
)
_CHANNEL = Statement(
    "SELECT kind, created_at_ms, head_bucket, state_seq, state_position, title, members, derived_seq"
    " FROM channels WHERE channel_id = ?",
    serial=True,
)
_FIRST_ENTRY = Statement(
    "INSERT INTO log (channel_id, bucket, seq, position, kind, author_id, client_message_id, target_seq, body,"
    " live, members, title, redactions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
    conditional=True,
)
_ENTRY = Statement(
    "INSERT INTO log (channel_id, bucket, seq, position, kind, author_id, client_message_id, target_seq, body,"
    " live) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REDACT = Statement("UPDATE log SET body = ?, live = false WHERE channel_id = ? AND bucket = ? AND seq = ?")
_WRITTEN = Statement(
    "SELECT seq, position, kind, author_id, client_message_id, target_seq FROM log"
    " WHERE channel_id = ? AND bucket = ? AND seq >= ? AND seq <= ? ORDER BY seq ASC",
    serial=True,
)
_OPEN = Statement(
    "SELECT seq, position, author_id, client_message_id, members, title, redactions"
    " FROM log WHERE channel_id = ? AND bucket = ?",
    serial=True,
)
_SENT = Statement("SELECT seq, position, author_id, client_message_id FROM log WHERE channel_id = ? AND bucket = ?")
_CHANGE = Statement("INSERT INTO changes (channel_id, bucket, target_seq, seq, kind, kept) VALUES (?, ?, ?, ?, ?, ?)")

# Of channels that were written to so lately, whoever loads them sees to it that it is noted that they are active.
_LATELY_MS = 3600 * 1000

_SAVE_MARKS = Statement("INSERT INTO receipts (channel_id, position, marks) VALUES (?, ?, ?) USING TIMESTAMP ?")
_MARKS = Statement("SELECT marks FROM receipts WHERE channel_id = ?")


class CassandraChannelLog(ChannelLog):
    """The logs in Cassandra.

    One caller at a time appends to a channel; several servers may contend for it.

    Args:
        cassandra: The storage.
        contacts: Tells who has blocked whom.
        pending: Notes the channels that wait for a decision about push.
        clock: Tells the time.
    """

    # The clocks of servers differ.
    ahead_ms = 60_000

    def __init__(
        self, cassandra: CassandraClient, contacts: ContactStore, pending: CassandraPendingPush, clock: Clock
    ) -> None:
        self._cassandra = cassandra
        self._contacts = contacts
        self._pending = pending
        self._clock = clock
        self._reader = LogReader(cassandra)
        self._inflight = InflightLimit(clock.monotonic)
        self._derived = DerivedTables(cassandra)
        self._tails = LogTails()
        self._committed = 0

    async def ready(self) -> None:
        """See `ChannelLog.ready`."""
        await self._inflight.ready()

    async def append(self, batch: LogBatch) -> AppendOutcome:
        """See `ChannelLog.append`."""
        outcome: AppendOutcome = HeadMoved()
        begun = self._inflight.begin()
        try:
            outcome = await self._append(batch)
            return outcome
        finally:
            self._inflight.end(begun, done=isinstance(outcome, Appended) and bool(batch.entries))
            # After a refusal or an error the next batch begins from what the storage has.
            if isinstance(outcome, HeadMoved):
                self._tails.drop(batch.channel_id)

    def batch_capacity(self, head_seq: int) -> int:
        """See `ChannelLog.batch_capacity`. A batch is within one partition."""
        return batch_capacity(head_seq)

    async def load(self, channel_id: str) -> ChannelSnapshot | None:
        """See `ChannelLog.load`."""
        tail = await self._load(channel_id)
        if tail is None:
            return None
        members = tail.members_in_order()
        marks, blocked = await asyncio.gather(
            self._cassandra.execute(_MARKS, (channel_id,)), self._is_blocked(tail.record, members)
        )
        return ChannelSnapshot(
            tail.record,
            tail.title,
            members,
            tail.head_seq,
            tail.head_position,
            decode_marks(marks[0][0]) if marks else {},
            blocked,
        )

    async def message_with_changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        """See `ChannelLog.message_with_changes`."""
        messages, changes = await asyncio.gather(
            self._reader.entries(channel_id, seqs), self._reader.changes_with_text(channel_id, seqs)
        )
        return {
            seq: [message, *changes.get(seq, ())]
            for seq, message in messages.items()
            if message.kind is EntryKind.MESSAGE
        }

    async def entries_at(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, LogEntry]:
        """See `ChannelLog.entries_at`."""
        return await self._reader.entries(channel_id, seqs)

    async def save_marks(self, channel_id: str, position: int, marks: Mapping[str, Marks]) -> None:
        """See `ChannelLog.save_marks`."""
        # The position is the time of writing as well, so a former sequencer that comes late changes nothing.
        await self._cassandra.execute(_SAVE_MARKS, (channel_id, position, encode_marks(marks), position))

    async def committed_position(self) -> int:
        """See `ChannelLog.committed_position`. It is the position of now, because no server knows all logs."""
        return max(self._committed, positions.at(self._clock.now_ms() + 1) - 1)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _append(self, batch: LogBatch) -> AppendOutcome:
        """Write a batch: make the channel or open a partition first where that is due."""
        channel_id = batch.channel_id
        if batch.created is not None:
            tail = await self._create(batch, batch.created)
            if tail is None or not batch.entries:
                return HeadMoved() if tail is None else Appended()
        elif batch.entries:
            tail = self._tails.get(channel_id) or await self._load(channel_id)
        else:
            await self._derived.redact(channel_id, dict(batch.redactions))
            return Appended()
        if tail is None:
            return HeadMoved()
        refusal = tail.check(batch)
        if refusal is not None:
            return refusal
        if bucket_of(batch.entries[0].seq) != tail.bucket and not await self._open_bucket(tail):
            return HeadMoved()
        return await self._commit(batch, tail)

    async def _commit(self, batch: LogBatch, tail: LogTail) -> AppendOutcome:
        """Write a batch to its partition, then to the tables that follow from the log."""
        wake = await self._announce(batch)
        statements, redactions = _statements(batch)
        try:
            (applied, *_), *_ = await self._cassandra.batch(statements, conditional=True)
            if not applied:
                # The first entry is there: usually another server's, but ours when an answer was lost on the way.
                applied = await self._is_ours(batch)
        except Refusal:
            applied = await self._is_ours(batch)
            if applied is None:
                raise
        if not applied:
            if wake is not None:
                await self._pending.take_back(batch.channel_id, wake)
            return HeadMoved()
        last = batch.entries[-1]
        effects = Effects(batch.entries[0].seq, latest(batch.members), batch.title, redactions)
        await self._derived.write(batch.channel_id, effects, last.seq, last.position)
        await self._note_active(tail, last.position)
        self._committed = max(self._committed, last.position)
        self._tails.add(batch)
        return Appended()

    async def _note_active(self, tail: LogTail, position: int) -> None:
        if position > tail.active + ACTIVE_WITHIN:
            await self._derived.note_active(tail.record.channel_id, tail.members.values(), position)
            tail.active = position

    async def _announce(self, batch: LogBatch) -> Wake | None:
        """Write the rows that must be there before the entries, and do no harm if the entries never come."""
        channel_id = batch.channel_id
        changes = [
            self._cassandra.execute(
                _CHANGE,
                (
                    channel_id,
                    bucket_of(each.target_seq),
                    each.target_seq,
                    each.seq,
                    each.kind,
                    list(batch.kept[each.seq]) if each.seq in batch.kept else UNSET_VALUE,
                ),
            )
            for each in batch.entries
            if each.target_seq
        ]
        wake = await self._pending.wake(channel_id, batch.entries[0].seq) if batch.wakes_push else None
        if changes:
            await asyncio.gather(*changes)
        return wake

    async def _is_ours(self, batch: LogBatch) -> bool | None:
        """Find out whether a batch is in the log after all.

        Returns:
            None when no entry is there. The batch may still come: reading at the serial level settles the writes that
            are under way, but Cassandra itself may not have given this one up.
        """
        entries = batch.entries
        first, last = entries[0].seq, entries[-1].seq
        rows = await self._cassandra.execute(_WRITTEN, (batch.channel_id, bucket_of(first), first, last))
        # All columns are compared, since for a moment two servers may give out the same positions. If another server's
        # batch were the same in all of them, the outcome that the callers get would still be true.
        ours = [(e.seq, e.position, e.kind, e.author_id, e.client_message_id, e.target_seq) for e in entries]
        return rows == ours if rows else None

    async def _create(self, batch: LogBatch, record: ChannelRecord) -> LogTail | None:
        """Make the channel of a batch; return its tail, without an entry, or None when the channel exists already."""
        direct = record.kind is ChannelKind.DIRECT
        values = batch.channel_id, record.kind, record.created_at_ms, _members(batch.members) if direct else None
        (applied, *_), *_ = await self._cassandra.execute(_CREATE, values)
        # A group is made by its first entry. A row without an entry is left of a server that did not come that far.
        if not applied and (direct or await self._load(batch.channel_id) is not None):
            return None
        tail = LogTail(record, 0)
        if direct:
            await self._derived.write(batch.channel_id, Effects(0, batch.members), 0, 0)
            tail.change(batch.members, None)
        self._tails.keep(tail)
        return tail

    async def _open_bucket(self, tail: LogTail) -> bool:
        channel_id, bucket = tail.record.channel_id, bucket_of(tail.head_seq + 1)
        members = _members(tail.members.values())
        (applied, *found), *_ = await self._cassandra.execute(
            _OPEN_BUCKET,
            (bucket, tail.head_seq, tail.head_position, tail.title, members, channel_id, tail.bucket),
        )
        # Another server that opened the same partition wrote the same values, which follow from the log up to there.
        return bool(applied) or found == [bucket]

    # --- loading ------------------------------------------------------------------------------------------------------

    async def _load(self, channel_id: str) -> LogTail | None:
        """Read the end of a channel's log, and write what is missing in the tables that follow from it."""
        rows = await self._cassandra.execute(_CHANNEL, (channel_id,))
        if not rows:
            return None
        kind, created_at_ms, bucket, seq, position, title, members, derived_seq = rows[0]
        entries = await self._cassandra.execute(_OPEN, (channel_id, bucket))
        if kind == ChannelKind.GROUP and not bucket and not entries:
            # The server that was making the group did not come as far as its first entry.
            return None
        tail = LogTail(ChannelRecord(channel_id, ChannelKind(kind), created_at_ms), bucket, seq, position, title)
        state = Effects(0, _changes(members))
        missing = Effects(0) if bucket or derived_seq is not None else state
        tail.change(state.members, None)
        for first, _, _, _, changed, new_title, redactions in reversed(entries):
            effects = Effects(first, _changes(changed), new_title, redactions or {})
            tail.change(effects.members, effects.title)
            if effects and (derived_seq is None or first > derived_seq):
                missing = missing.followed_by(effects)
        if entries:
            tail.head_seq, tail.head_position = entries[0][:2]
        tail.sent.update(await self._sent_lately(tail, [row[:4] for row in entries]))
        await self._derived.write(channel_id, missing, tail.head_seq, tail.head_position)
        # A server that ended in the middle of a batch may not have come so far.
        if tail.head_position > positions.at(self._clock.now_ms() - _LATELY_MS):
            tail.active = await self._derived.active(channel_id, tail.members)
            await self._note_active(tail, tail.head_position)
        self._tails.keep(tail)
        return tail

    async def _sent_lately(self, tail: LogTail, newest: Sequence[Row]) -> Iterable[tuple[Key, tuple[int, int]]]:
        """Return the messages sent in the open partition, and earlier ones that must be known, in order."""
        channel_id, bucket = tail.record.channel_id, tail.bucket
        rows = list(newest)
        since = positions.at(self._clock.now_ms() - REMEMBERED_MS)
        while bucket and len(rows) < MOST_SENT and (rows[-1][1] if rows else tail.head_position) >= since:
            bucket -= 1
            rows += await self._cassandra.execute(_SENT, (channel_id, bucket))
        return (((author_id, name), (seq, position)) for seq, position, author_id, name in reversed(rows) if name)

    async def _is_blocked(self, record: ChannelRecord, members: Sequence[Member]) -> bool:
        if record.kind is not ChannelKind.DIRECT:
            return False
        one, other = (each.user_id for each in members)
        return bool(await self._contacts.blocked_either_way(one, [other]))


def _statements(batch: LogBatch) -> tuple[list[tuple[Statement, Row]], Mapping[int, bytes]]:
    """Return the writes of a batch, and the bodies to replace afterwards in other partitions."""
    channel_id, bucket = batch.channel_id, bucket_of(batch.entries[0].seq)
    redactions = dict(batch.redactions)
    rows = [
        (
            channel_id,
            bucket,
            each.seq,
            each.position,
            each.kind,
            each.author_id,
            each.client_message_id,
            each.target_seq,
            # If a body were written twice in one batch, the larger value would win.
            redactions.get(each.seq, each.body),
            True if each.kind is EntryKind.MESSAGE and each.seq not in redactions else UNSET_VALUE,
        )
        for each in batch.entries
    ]
    for each in batch.entries:
        redactions.pop(each.seq, None)
    elsewhere = {seq: body for seq, body in redactions.items() if bucket_of(seq) != bucket}
    members = [(each.user_id, each.role, each.since_seq, each.joined_at_ms, each.until_seq) for each in batch.members]
    besides = (
        members or UNSET_VALUE,
        UNSET_VALUE if batch.title is None else batch.title,
        elsewhere or UNSET_VALUE,
    )
    return [
        (_FIRST_ENTRY, (*rows[0], *besides)),
        *((_ENTRY, row) for row in rows[1:]),
        *((_REDACT, (body, channel_id, bucket, seq)) for seq, body in redactions.items() if seq not in elsewhere),
    ], elsewhere


def _members(members: Iterable[Member | MembershipChange]) -> list[Row]:
    """Encode members for one cell."""
    return [(each.user_id, each.role, each.since_seq, each.joined_at_ms) for each in members]


def _changes(cell: Iterable[Row] | None) -> Sequence[MembershipChange]:
    """Decode the members, or the changes of members, of one cell."""
    return [MembershipChange(user_id, Role(role), *rest) for user_id, role, *rest in cell or ()]
