"""The end of a channel's log in memory: its head, the channel's state there, and the messages sent lately.

No I/O. A `LogTail` may be older than the log, never newer. The storage checks each write once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidings.backends.cassandra.buckets import BUCKET, bucket_of
from tidings.backends.rows import in_order
from tidings.core import positions
from tidings.core.values import AlreadySent, ChannelRecord, HeadMoved, LogBatch, Member, MembershipChange

REMEMBERED_MS = 25 * 3600 * 1000
"""How long a sent message is known: a day, as promised, and an hour because clocks differ."""
MOST_SENT = 100_000
"""Known messages of one channel. If a channel had more in a day, a resend of an older one would be taken for new."""

# All channels together: how many sent messages are known, and how many tails are kept.
_SENT_KEPT = 1_000_000
_TAILS_KEPT = 50_000

Key = tuple[str, str]
"""Author and client message id."""


def batch_capacity(head_seq: int) -> int:
    """Return how many entries fit behind `head_seq` in its partition, or in a new one when that is full."""
    return BUCKET - head_seq % BUCKET


@dataclass(slots=True)
class LogTail:
    """The end of one channel's log, as far as this process knows it."""

    record: ChannelRecord
    bucket: int
    """The open partition."""
    head_seq: int = 0
    head_position: int = 0
    title: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    sent: OrderedDict[Key, tuple[int, int]] = field(default_factory=OrderedDict)
    """Seq and position of each known message, in order of seq."""
    active: int = 0
    """Up to where its members were told that the channel is active; 0 when that is not known."""

    def check(self, batch: LogBatch) -> AlreadySent | HeadMoved | None:
        """Check whether a batch can be written.

        Returns:
            The outcome of a batch that cannot be written; None when nothing known here prevents it.

        Raises:
            ValueError: The batch is larger than `batch_capacity`.
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
        """Add a batch that has been written behind the head."""
        for each in batch.entries:
            if each.client_message_id:
                self.sent[each.author_id, each.client_message_id] = each.seq, each.position
        self.head_seq, self.head_position = batch.entries[-1].seq, batch.entries[-1].position
        self.bucket = bucket_of(self.head_seq)
        self.change(batch.members, batch.title)
        self._forget()

    def change(self, members: Iterable[MembershipChange], title: str | None) -> None:
        """Apply the changes of a batch to the channel's state."""
        for each in members:
            if not each.until_seq:
                self.members[each.user_id] = Member(each.user_id, each.role, each.since_seq, each.joined_at_ms)
            elif each.user_id in self.members and self.members[each.user_id].since_seq == each.since_seq:
                del self.members[each.user_id]
        if title is not None:
            self.title = title

    def members_in_order(self) -> tuple[Member, ...]:
        """Return the present members, longest-serving first."""
        return in_order(self.members.values())

    def _forget(self) -> None:
        sent = self.sent
        oldest = positions.at(positions.time_ms(self.head_position) - REMEMBERED_MS)
        # What is in the open partition stays, because loading the channel would find it there.
        kept_seq = self.bucket * BUCKET
        while sent:
            seq, position = next(iter(sent.values()))
            if seq > kept_seq or (position >= oldest and len(sent) <= MOST_SENT):
                return
            sent.popitem(last=False)


class LogTails:
    """The tails of the channels that were used lately; those used longest ago are dropped first."""

    def __init__(self) -> None:
        self._tails: OrderedDict[str, LogTail] = OrderedDict()
        self._sent = 0

    def get(self, channel_id: str) -> LogTail | None:
        """Return the tail of a channel, if it is kept."""
        return self._tails.get(channel_id)

    def keep(self, tail: LogTail) -> None:
        """Keep a tail in place of an earlier one of the channel, unless that is further ahead."""
        channel_id = tail.record.channel_id
        known = self._tails.get(channel_id)
        if known is not None and known.head_seq > tail.head_seq:
            return
        self.drop(channel_id)
        self._tails[channel_id] = tail
        self._sent += len(tail.sent)
        while len(self._tails) > 1 and (self._sent > _SENT_KEPT or len(self._tails) > _TAILS_KEPT):
            self.drop(next(iter(self._tails)))

    def add(self, batch: LogBatch) -> None:
        """Add a batch that has been written to the tail of its channel.

        The tail is left as it is when it was loaded again in the meantime, with or without the batch.
        """
        tail = self._tails.get(batch.channel_id)
        if tail is not None and tail.head_seq + 1 == batch.entries[0].seq:
            self.drop(batch.channel_id)
            tail.add(batch)
            self.keep(tail)

    def drop(self, channel_id: str) -> None:
        """Drop the tail of a channel, if it is kept."""
        tail = self._tails.pop(channel_id, None)
        if tail is not None:
            self._sent -= len(tail.sent)
