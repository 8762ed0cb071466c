"""A channel log in memory that can be slow, fail, or answer what another sequencer would make it answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidings.core.errors import Refusal, unavailable
from tidings.core.ports import ChannelLog
from tidings.core.reasons import Reason
from tidings.core.values import (
    AlreadySent,
    Appended,
    AppendOutcome,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    HeadMoved,
    LogBatch,
    LogEntry,
    Marks,
    Member,
)


@dataclass
class StoredChannel:
    """What is stored of one channel."""

    record: ChannelRecord
    title: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    entries: list[LogEntry] = field(default_factory=list)
    sent: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    marks: dict[str, Marks] = field(default_factory=dict)


class Gate:
    """Where a call waits until it is let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


class MemoryLog(ChannelLog):
    """Obeys the port; the next calls do what is put into the lists of faults, one each."""

    def __init__(self) -> None:
        self.channels: dict[str, StoredChannel] = {}
        self.blocked: set[str] = set()
        """Direct channels, made or not, of people one of whom has blocked the other."""
        self.batches: list[LogBatch] = []
        """Every batch asked for, written or not."""
        self.loads = 0
        self.saves = 0
        self.append_gates: list[Gate] = []
        self.load_gates: list[Gate] = []
        self.save_gates: list[Gate] = []
        self.fail_before: list[Exception] = []
        """Raised by append; nothing is written."""
        self.fail_after: list[Exception] = []
        """Raised by append once the batch is written: the answer got lost."""
        self.fail_load: list[Exception] = []
        self.fail_save: list[Exception] = []
        self.rivals: list[LogBatch] = []
        """Written by another sequencer just before the next append."""

    def entries(self, channel_id: str) -> list[LogEntry]:
        return self.channels[channel_id].entries

    async def append(self, batch: LogBatch) -> AppendOutcome:
        self.batches.append(batch)
        if self.append_gates:
            await self.append_gates.pop(0).wait()
        if self.fail_before:
            raise self.fail_before.pop(0)
        if self.rivals:
            assert isinstance(self._write(self.rivals.pop(0)), Appended)
        outcome = self._write(batch)
        if self.fail_after:
            raise self.fail_after.pop(0)
        return outcome

    def batch_capacity(self, head_seq: int) -> int:
        return 1 << 62

    async def load(self, channel_id: str) -> ChannelSnapshot | None:
        self.loads += 1
        found = self._snapshot(channel_id)
        if self.load_gates:
            await self.load_gates.pop(0).wait()
        if self.fail_load:
            raise self.fail_load.pop(0)
        return found

    async def message_with_changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        if any(seq >= 1 << 63 for seq in seqs):
            raise OverflowError("a number that no engine can store")
        entries = self.channels[channel_id].entries if channel_id in self.channels else []
        return {
            each.seq: [each, *(change for change in entries if change.target_seq == each.seq)]
            for each in entries
            if each.seq in seqs and each.kind is EntryKind.MESSAGE
        }

    async def entries_at(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, LogEntry]:
        return {each.seq: each for each in self.channels[channel_id].entries if each.seq in seqs}

    async def save_marks(self, channel_id: str, position: int, marks: Mapping[str, Marks]) -> None:
        self.saves += 1
        taken = dict(marks)
        if self.save_gates:
            await self.save_gates.pop(0).wait()
        if self.fail_save:
            raise self.fail_save.pop(0)
        self.channels[channel_id].marks = taken

    async def committed_position(self) -> int:
        return max((each.entries[-1].position for each in self.channels.values() if each.entries), default=0)

    def _write(self, batch: LogBatch) -> AppendOutcome:
        channel = self.channels.get(batch.channel_id)
        if batch.created is not None:
            if channel is not None:
                return HeadMoved()
            channel = StoredChannel(batch.created)
        assert channel is not None
        if batch.entries and batch.entries[0].seq != len(channel.entries) + 1:
            return HeadMoved()
        named = [(each.author_id, each.client_message_id) for each in batch.entries if each.client_message_id]
        assert len(set(named)) == len(named), "a batch holds the same message twice"
        first_results = {key: channel.sent[key] for key in named if key in channel.sent}
        if first_results:
            return AlreadySent(first_results)
        self.channels[batch.channel_id] = channel
        channel.entries.extend(batch.entries)
        channel.sent.update(
            {(e.author_id, e.client_message_id): (e.seq, e.position) for e in batch.entries if e.client_message_id}
        )
        channel.title = channel.title if batch.title is None else batch.title
        for change in batch.members:
            if change.until_seq:
                del channel.members[change.user_id]
            else:
                channel.members[change.user_id] = Member(
                    change.user_id, change.role, change.since_seq, change.joined_at_ms
                )
        for seq, body in batch.redactions:
            channel.entries[seq - 1] = replace(channel.entries[seq - 1], body=body)
        return Appended()

    def _snapshot(self, channel_id: str) -> ChannelSnapshot | None:
        channel = self.channels.get(channel_id)
        if channel is None:
            return None
        head = channel.entries[-1] if channel.entries else None
        return ChannelSnapshot(
            channel.record,
            channel.title,
            tuple(channel.members.values()),
            head.seq if head else 0,
            head.position if head else 0,
            dict(channel.marks),
            channel_id in self.blocked,
        )


def away() -> Refusal:
    """What a storage that does not answer answers."""
    return unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)
