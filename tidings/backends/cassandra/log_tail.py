"""What whoever writes to a channel's log has to know: its head, its state there, and what was sent lately.

No I/O. A `LogTail` may be older than the log, never newer: what is written is checked by the storage once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidings.backends.cassandra.rows import BUCKET, bucket_of
from tidings.core import positions
from tidings.core.values import AlreadySent, ChannelRecord, HeadMoved, LogBatch, Member, MembershipChange

REMEMBERED_MS = 25 * 3600 * 1000
"""How long it is known what was sent: a day, as promised, and something for clocks that differ."""
MOST_SENT = 100_000
"""Of one channel. In one that has more in a day, what was sent before these would be taken for new."""

Key = tuple[str, str]


def batch_capacity(head_seq: int) -> int:
    """How many entries fit behind `head_seq` in its partition, or in a new one when it is full."""
    return BUCKET - head_seq % BUCKET


def latest(changes: Iterable[MembershipChange]) -> Sequence[MembershipChange]:
    """Of each stay the last of some changes, in order."""
    return list({(each.user_id, each.since_seq): each for each in changes}.values())


@dataclass(slots=True)
class LogTail:
    """The end of one channel's log."""

    record: ChannelRecord
    bucket: int
    """The partition that is open."""
    head_seq: int = 0
    head_position: int = 0
    title: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    sent: OrderedDict[Key, tuple[int, int]] = field(default_factory=OrderedDict)
    """By author and client message id: seq and position, in order of seq."""

    def refuses(self, batch: LogBatch) -> AlreadySent | HeadMoved | None:
        """Why a batch cannot be written, as far as is known here.

        Raises:
            ValueError: It goes beyond `batch_capacity`.
        """
        first, last = batch.entries[0].seq, batch.entries[-1].seq
        if first != self.head_seq + 1:
            return HeadMoved()
        if bucket_of(first) != bucket_of(last):
            raise ValueError(f"the entries {first} to {last} do not fit in one batch; see ChannelLog.batch_capacity")
        first_results: Mapping[Key, tuple[int, int]] = {
            key: self.sent[key]
            for each in batch.entries
            if each.client_message_id and (key := (each.author_id, each.client_message_id)) in self.sent
        }
        return AlreadySent(first_results) if first_results else None

    def add(self, batch: LogBatch) -> None:
        """The batch has been written behind the head."""
        for each in batch.entries:
            if each.client_message_id:
                self.sent[each.author_id, each.client_message_id] = each.seq, each.position
        self.head_seq, self.head_position = batch.entries[-1].seq, batch.entries[-1].position
        self.bucket = bucket_of(self.head_seq)
        self.change(batch.members, batch.title)
        self._forget()

    def change(self, members: Iterable[MembershipChange], title: str | None) -> None:
        """Does to the state what a batch does."""
        for each in members:
            if not each.until_seq:
                self.members[each.user_id] = Member(each.user_id, each.role, each.since_seq, each.joined_at_ms)
            elif each.user_id in self.members and self.members[each.user_id].since_seq == each.since_seq:
                del self.members[each.user_id]
        if title is not None:
            self.title = title

    def members_in_order(self) -> tuple[Member, ...]:
        """The longest-serving first."""
        return tuple(sorted(self.members.values(), key=lambda each: (each.since_seq, -each.role, each.user_id)))

    def _forget(self) -> None:
        sent = self.sent
        oldest = positions.at(positions.time_ms(self.head_position) - REMEMBERED_MS)
        # What is in the open partition stays: whoever loads the channel finds it there.
        kept_seq = self.bucket * BUCKET
        while sent:
            seq, position = next(iter(sent.values()))
            if seq > kept_seq or (position >= oldest and len(sent) <= MOST_SENT):
                return
            sent.popitem(last=False)
