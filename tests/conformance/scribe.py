"""Writes channels' logs for the suites that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.support.clock import FakeClock
from tidings.core import positions
from tidings.core.ports import ChannelLog, Inbox, InboxCopy
from tidings.core.values import (
    Appended,
    ChannelKind,
    ChannelRecord,
    EntryKind,
    LogBatch,
    LogEntry,
    MembershipChange,
    Role,
)

CREATED_AT_MS = 1_750_000_000_000


class Ticker:
    """Positions for all channels of a test, each later than the last by `STEP_SECONDS`, and so is the time."""

    STEP_SECONDS = 50

    def __init__(self, clock: FakeClock | None = None) -> None:
        self._clock = clock or FakeClock()
        self.latest = 0

    def next(self) -> int:
        self._clock.advance(self.STEP_SECONDS)
        self.latest = positions.at(self._clock.now_ms())
        return self.latest


class Scribe:
    """Keeps one channel's log; what it wrote last is at the head. Given an inbox, it puts what it writes into it."""

    def __init__(
        self,
        log: ChannelLog,
        ticker: Ticker,
        channel_id: str,
        kind: ChannelKind = ChannelKind.GROUP,
        inbox: Inbox | None = None,
    ) -> None:
        self.log = log
        self.inbox = inbox
        self.ticker = ticker
        self.channel_id = channel_id
        self.kind = kind
        self.entries: list[LogEntry] = []
        self.members: dict[str, MembershipChange] = {}

    @property
    def head(self) -> LogEntry:
        return self.entries[-1]

    def draft(
        self, kind: EntryKind, author_id: str, body: bytes | None = None, name: str = "", target_seq: int = 0
    ) -> LogEntry:
        """The next entry, not written yet."""
        seq = len(self.entries) + 1
        if body is None:
            body = f"{self.channel_id} {seq} {kind.name}".encode()
        return LogEntry(seq, self.ticker.next(), kind, author_id, body, name, target_seq)

    async def create(self, *user_ids: str, title: str = "title") -> None:
        """Makes the channel: a group with an entry for that, a direct channel without."""
        record = ChannelRecord(self.channel_id, self.kind, CREATED_AT_MS)
        if self.kind is ChannelKind.DIRECT:
            members = [MembershipChange(each, Role.MEMBER, 1, CREATED_AT_MS) for each in user_ids]
            await self._write(LogBatch(self.channel_id, (), record, tuple(members)))
        else:
            entry = self.draft(EntryKind.MEMBERSHIP, user_ids[0])
            members = [
                MembershipChange(each, Role.MEMBER if at else Role.OWNER, 1, CREATED_AT_MS)
                for at, each in enumerate(user_ids)
            ]
            await self._write(LogBatch(self.channel_id, (entry,), record, tuple(members), title))
        self.members = {each.user_id: each for each in members}

    async def send(self, author_id: str, body: bytes | None = None, name: str = "") -> LogEntry:
        return await self._enter(self.draft(EntryKind.MESSAGE, author_id, body, name))

    async def edit(self, message: LogEntry, body: bytes | None = None, name: str = "") -> LogEntry:
        entry = self.draft(EntryKind.EDIT, message.author_id, body, name, message.seq)
        kept = tuple(each.seq for each in self.entries if each.target_seq == message.seq)
        return await self._enter(entry, kept={entry.seq: kept})

    async def delete(self, message: LogEntry) -> LogEntry:
        """Deletes a message, whose text and those of its edits leave the log."""
        entry = self.draft(EntryKind.DELETION, message.author_id, target_seq=message.seq)
        gone = [each for each in self.entries if message.seq in (each.seq, each.target_seq)]
        redactions = tuple((each.seq, b"redacted") for each in gone)
        await self._write(LogBatch(self.channel_id, (entry,), redactions=redactions, kept={entry.seq: ()}))
        for each in gone:
            self.entries[each.seq - 1] = LogEntry(
                each.seq,
                each.position,
                each.kind,
                each.author_id,
                b"redacted",
                each.client_message_id,
                each.target_seq,
            )
        return entry

    async def add(self, *user_ids: str) -> LogEntry:
        entry = self.draft(EntryKind.MEMBERSHIP, "somebody")
        changes = [MembershipChange(each, Role.MEMBER, entry.seq, CREATED_AT_MS + entry.seq) for each in user_ids]
        self.members |= {each.user_id: each for each in changes}
        return await self._enter(entry, *changes)

    async def remove(self, user_id: str) -> LogEntry:
        entry = self.draft(EntryKind.MEMBERSHIP, "somebody")
        stay = self.members.pop(user_id)
        return await self._enter(
            entry, MembershipChange(user_id, stay.role, stay.since_seq, stay.joined_at_ms, until_seq=entry.seq)
        )

    async def give(self, user_id: str, role: Role) -> LogEntry:
        self.members[user_id] = stay = replace(self.members[user_id], role=role)
        return await self._enter(self.draft(EntryKind.MEMBERSHIP, "somebody"), stay)

    async def _enter(
        self, entry: LogEntry, *members: MembershipChange, kept: Mapping[int, tuple[int, ...]] | None = None
    ) -> LogEntry:
        await self._write(LogBatch(self.channel_id, (entry,), members=members, kept=kept or {}))
        return entry

    async def _write(self, batch: LogBatch) -> None:
        assert await self.log.append(batch) == Appended()
        self.entries += batch.entries
        if self.inbox is not None and batch.entries:
            audience = self.members.keys() | {each.user_id for each in batch.members}
            await self.inbox.put([InboxCopy(audience, self.channel_id, batch.entries)])
