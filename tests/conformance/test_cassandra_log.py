"""What is special about logs in Cassandra: several writers, answers that never come, and partitions."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

import pytest

from tests.conformance.engines import CassandraEngine, Ports
from tests.conformance.scribe import CREATED_AT_MS, Scribe, Ticker
from tests.support.unreliable import UnreliableSession, unreliable
from tidings.backends.cassandra.buckets import BUCKET
from tidings.backends.cassandra.client import CassandraClient, Row, Statement
from tidings.backends.cassandra.log import CassandraChannelLog
from tidings.backends.cassandra.pending_push import CassandraPendingPush
from tidings.core.errors import Code, Refusal
from tidings.core.ports import PageRequest
from tidings.core.positions import Positions
from tidings.core.values import (
    AlreadySent,
    Appended,
    AppendOutcome,
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    HeadMoved,
    LogBatch,
    LogEntry,
    Member,
    MembershipChange,
    Role,
    SeqRange,
)

pytestmark = pytest.mark.parametrize("engine", ["cassandra"], indirect=True, scope="session")

ALL = (SeqRange(1),)
HOUR = 3600


@dataclass
class Writer:
    """One that writes to the log as the writer of channels does, over a connection of its own."""

    log: CassandraChannelLog
    cassandra: CassandraClient
    session: UnreliableSession
    positions: Positions

    async def load(self, channel_id: str = "ga") -> ChannelSnapshot:
        snapshot = await self.log.load(channel_id)
        assert snapshot is not None
        return snapshot

    async def send(self, *names: str, after: ChannelSnapshot | None = None) -> AppendOutcome:
        """Tries once to write messages of ann's behind the head that it finds, or found."""
        snapshot = after or await self.load()
        return await self.log.append(LogBatch(snapshot.record.channel_id, self.draft(snapshot, *names)))

    async def settle(self, *names: str) -> tuple[int, int]:
        """Sends one after another until each has its place; returns that of the last."""
        place = 0, 0
        for name in names:
            while True:
                snapshot = await self.load()
                outcome = await self.send(name, after=snapshot)
                if isinstance(outcome, AlreadySent):
                    place = outcome.first_results["ann", name]
                    break
                if outcome == Appended():
                    place = snapshot.head_seq + 1, (await self.load()).head_position
                    break
        return place

    def draft(self, snapshot: ChannelSnapshot, *names: str) -> tuple[LogEntry, ...]:
        entries = []
        position = snapshot.head_position
        for seq, name in enumerate(names, snapshot.head_seq + 1):
            position = self.positions.next(position)
            entries.append(LogEntry(seq, position, EntryKind.MESSAGE, "ann", name.encode(), name))
        return tuple(entries)

    async def fill(self, upto: int) -> None:
        """Sends until the head is at a seq."""
        while (head := await self.load()).head_seq < upto:
            count = min(self.log.batch_capacity(head.head_seq), upto - head.head_seq, 250)
            names = [f"filler {head.head_seq + number}" for number in range(1, count + 1)]
            assert await self.send(*names, after=head) == Appended()


class Writers:
    """Makes writers, each with a worker id of its own."""

    def __init__(self, engine: CassandraEngine, ports: Ports) -> None:
        self._settings = engine.settings
        self._ports = ports
        self._made: list[Writer] = []

    async def another(self) -> Writer:
        cassandra, session = await unreliable(self._settings)
        clock = self._ports.clock
        log = CassandraChannelLog(cassandra, self._ports.contacts, CassandraPendingPush(cassandra), clock)
        self._made.append(Writer(log, cassandra, session, Positions(clock, len(self._made) + 1)))
        return self._made[-1]

    async def close(self) -> None:
        for writer in self._made:
            await writer.cassandra.close()


@pytest.fixture
async def writers(engine: CassandraEngine, ports: Ports) -> AsyncIterator[Writers]:
    writers = Writers(engine, ports)
    yield writers
    await writers.close()


@pytest.fixture
async def one(writers: Writers) -> Writer:
    """The writer of a group of ann and ben."""
    writer = await writers.another()
    await Scribe(writer.log, Ticker(), "ga").create("ann", "ben", title="tea")
    return writer


@pytest.fixture
async def other(writers: Writers, one: Writer) -> Writer:
    """Another one, who takes over."""
    return await writers.another()


async def _names(ports: Ports) -> list[str]:
    """Of all messages of the group, in order; the log has no gap."""
    entries: list[LogEntry] = []
    while page := await ports.history.entries(
        "ga", ALL, PageRequest(after_seq=entries[-1].seq if entries else 1, limit=200)
    ):
        entries += page
    assert [each.seq for each in entries] == list(range(2, len(entries) + 2))
    found = [each.position for each in entries]
    assert found == sorted(set(found))
    return [each.client_message_id for each in entries if each.kind is EntryKind.MESSAGE]


# --- two writers ------------------------------------------------------------------------------------------------------


async def test_two_who_race_write_each_message_once_and_leave_no_gap(ports: Ports, one: Writer, other: Writer) -> None:
    chance = random.Random(7)
    refused = 0

    async def write(writer: Writer, name: str) -> None:
        nonlocal refused
        numbers = itertools.count()
        snapshot = await writer.load()
        while snapshot.head_seq < 301:
            names = [f"{name} {next(numbers)}" for _ in range(chance.randint(1, 5))]
            while (outcome := await writer.send(*names, after=snapshot)) == HeadMoved():
                refused += 1
                snapshot = await writer.load()
            assert outcome == Appended()
            accepted.extend(names)
            snapshot = replace(snapshot, head_seq=snapshot.head_seq + len(names), head_position=writer.positions.next())

    accepted: list[str] = []
    await asyncio.gather(write(one, "one"), write(other, "other"))
    assert refused > 0
    assert {each.split()[0] for each in accepted} == {"one", "other"}
    assert sorted(await _names(ports)) == sorted(accepted)


async def test_who_has_been_replaced_cannot_write_until_it_has_loaded_again(
    ports: Ports, one: Writer, other: Writer
) -> None:
    before = await one.load()
    assert await other.send("second") == Appended()
    assert await one.send("late", after=before) == HeadMoved()
    # It has forgotten what it had, and guesses nothing.
    assert await one.send("late", after=before) == HeadMoved()
    # Nor has it to be told to load: it does when it is asked for what follows the head.
    snapshot = await other.load()
    assert await one.send("late", after=snapshot) == Appended()
    assert await _names(ports) == ["second", "late"]


async def test_a_resend_after_a_takeover_gives_the_first_result(one: Writer, other: Writer) -> None:
    assert await one.send("first", "second") == Appended()
    snapshot = await other.load()
    first = AlreadySent({("ann", "second"): (3, snapshot.head_position)})
    assert await other.send("third", "second", after=snapshot) == first
    # Also to one who has not loaded the channel before.
    assert await one.send("second", after=snapshot) == first


@pytest.mark.parametrize("hours", [0, 23])
async def test_a_resend_gives_the_first_result_across_a_boundary(
    ports: Ports, one: Writer, other: Writer, hours: int
) -> None:
    await one.fill(BUCKET - 1)
    seq, position = await one.settle("last of its partition")
    assert seq == BUCKET
    await one.settle("first of the next")
    ports.clock.advance(hours * HOUR)
    assert await other.send("last of its partition") == AlreadySent({("ann", "last of its partition"): (seq, position)})


async def test_a_resend_is_recognised_by_who_wrote_all_of_it(ports: Ports, one: Writer) -> None:
    place = await one.settle("early")
    await one.fill(BUCKET + 10)
    ports.clock.advance(23 * HOUR)
    await one.settle("late")
    assert await one.send("early") == AlreadySent({("ann", "early"): place})


# --- answers that do not come -----------------------------------------------------------------------------------------


def _is_commit(cql: str) -> bool:
    return cql.startswith("INSERT INTO log") and cql.endswith("IF NOT EXISTS")


async def _unavailable(writer: Writer, *names: str) -> None:
    with pytest.raises(Refusal) as refused:
        await writer.send(*names)
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.retry_after is not None


async def test_a_batch_that_was_written_is_acknowledged_though_the_answer_was_lost(ports: Ports, one: Writer) -> None:
    one.session.concerns, one.session.is_sent = _is_commit, True
    snapshot = await one.load()
    assert await one.send("first", "second", after=snapshot) == Appended()
    assert one.session.lost == 1
    one.session.recover()
    assert await one.send("third") == Appended()
    assert await _names(ports) == ["first", "second", "third"]


async def test_a_lost_answer_to_one_who_was_replaced_is_no_acknowledgement(
    ports: Ports, one: Writer, other: Writer
) -> None:
    snapshot = await one.load()
    assert await other.send("other's") == Appended()
    one.session.concerns, one.session.is_sent = _is_commit, True
    assert await one.send("one's", after=snapshot) == HeadMoved()
    assert await _names(ports) == ["other's"]


async def test_a_lost_answer_is_no_acknowledgement_though_somebody_wrote_at_the_same_position(
    ports: Ports, one: Writer, other: Writer
) -> None:
    # For a moment two servers may have the same number, and give out the same positions.
    snapshot = await one.load()
    entries = one.draft(snapshot, "first", "second")
    theirs = entries[0], replace(entries[1], client_message_id="another")
    assert (await other.load()).head_seq == snapshot.head_seq
    assert await other.log.append(LogBatch("ga", theirs)) == Appended()
    one.session.concerns, one.session.is_sent = _is_commit, True
    assert await one.log.append(LogBatch("ga", entries)) == HeadMoved()
    assert await _names(ports) == ["first", "another"]


async def test_a_batch_that_never_arrived_is_refused_and_can_be_sent_again(ports: Ports, one: Writer) -> None:
    one.session.concerns = _is_commit
    await _unavailable(one, "first")
    one.session.recover()
    assert await _names(ports) == []
    assert await one.send("first") == Appended()
    assert await _names(ports) == ["first"]


async def test_a_batch_that_arrives_after_it_was_refused_is_found_by_the_resend(
    ports: Ports, one: Writer, other: Writer
) -> None:
    one.session.concerns = _is_commit
    await _unavailable(one, "first")
    one.session.recover()
    # Loaded before it arrives: there is nothing yet.
    snapshot = await other.load()
    await one.session.deliver()
    assert await other.send("first", after=snapshot) == HeadMoved()
    assert await other.send("first") == AlreadySent({("ann", "first"): (2, (await other.load()).head_position)})
    assert await _names(ports) == ["first"]


async def test_a_batch_that_arrives_after_its_resend_was_written_changes_nothing(
    ports: Ports, one: Writer, other: Writer
) -> None:
    one.session.concerns = _is_commit
    await _unavailable(one, "first", "second")
    one.session.recover()
    assert await other.send("first") == Appended()
    before = await other.load()
    await one.session.deliver()
    assert await other.load() == before
    assert await _names(ports) == ["first"]


async def test_nobody_is_told_anything_when_the_storage_cannot_be_asked_either(ports: Ports, one: Writer) -> None:
    snapshot = await one.load()
    one.session.concerns, one.session.is_sent = (lambda cql: "log" in cql), True
    with pytest.raises(Refusal):
        await one.send("first", after=snapshot)
    one.session.recover()
    # It has been written all the same.
    assert await one.settle("first") == (2, (await one.load()).head_position)
    assert await _names(ports) == ["first"]


async def test_whatever_is_lost_each_message_is_there_once(ports: Ports, one: Writer, other: Writer) -> None:
    chance = random.Random(11)

    async def write(writer: Writer, names: list[str]) -> None:
        for name in names:
            while True:
                try:
                    await writer.settle(name)
                except Refusal:
                    continue
                break

    def at_random(session: UnreliableSession) -> None:
        def concerns(cql: str) -> bool:
            session.is_sent = chance.random() < 0.5
            if chance.random() < 0.1:
                session.send_held()
            return "log" in cql and chance.random() < 0.2

        session.concerns = concerns

    names = [[f"{writer} {number}" for number in range(30)] for writer in "ab"]
    at_random(one.session)
    at_random(other.session)
    await asyncio.gather(write(one, names[0]), write(other, names[1]))
    for writer in (one, other):
        writer.session.recover()
        await writer.session.deliver()
    assert one.session.lost and other.session.lost
    assert sorted(await _names(ports)) == sorted(names[0] + names[1])


async def test_a_channel_whose_making_was_not_answered_is_made_once(ports: Ports, one: Writer, other: Writer) -> None:
    record = ChannelRecord("dx", ChannelKind.DIRECT, CREATED_AT_MS)
    members = tuple(MembershipChange(each, Role.MEMBER, 1, CREATED_AT_MS) for each in ("ann", "ben"))
    one.session.concerns, one.session.is_sent = (lambda cql: cql.startswith("INSERT INTO channels")), True
    with pytest.raises(Refusal):
        await one.log.append(LogBatch("dx", (), record, members))
    assert await other.log.append(LogBatch("dx", (), record, members)) == HeadMoved()
    # The members are there for everyone, though who made the channel has not told.
    assert [each.user_id for each in (await other.load("dx")).members] == ["ann", "ben"]
    assert await ports.history.visible("dx", "ben") == [SeqRange(1)]


async def test_a_group_that_was_not_made_to_the_end_is_none_and_can_be_made(ports: Ports, writers: Writers) -> None:
    one, other = await writers.another(), await writers.another()
    one.session.concerns = _is_commit
    with pytest.raises(Refusal):
        await Scribe(one.log, Ticker(), "gb").create("ann", "ben")
    assert await other.log.load("gb") is None
    await Scribe(other.log, Ticker(), "gb").create("eve", title="hers")
    # And then what made it first arrives.
    await one.session.deliver()
    snapshot = await one.load("gb")
    assert (snapshot.title, [each.user_id for each in snapshot.members]) == ("hers", ["eve"])


async def test_a_batch_that_was_refused_leaves_no_wake_of_its_own(ports: Ports, one: Writer, other: Writer) -> None:
    snapshot = await one.load()

    async def wake(writer: Writer, name: str) -> AppendOutcome:
        return await writer.log.append(LogBatch("ga", writer.draft(snapshot, name), wakes_push=True))

    assert await wake(other, "other's") == Appended()
    assert await wake(one, "one's") == HeadMoved()
    assert await ports.pending_push.channels() == {"ga": 2}
    await ports.pending_push.decided("ga", None)
    assert await ports.pending_push.channels() == {}


# --- what follows from the log ----------------------------------------------------------------------------------------


def _is_derived(cql: str) -> bool:
    return "memberships" in cql or (cql.startswith("UPDATE log") and "IF EXISTS" in cql)


async def test_who_loads_the_channel_writes_what_its_last_writer_did_not_come_to(
    ports: Ports, one: Writer, other: Writer
) -> None:
    snapshot = await one.load()
    entry = replace(one.draft(snapshot, "")[0], kind=EntryKind.MEMBERSHIP)
    changes = (
        MembershipChange("cas", Role.MEMBER, 2, 5),
        MembershipChange("ben", Role.MEMBER, 1, CREATED_AT_MS, until_seq=2),
    )
    one.session.concerns = _is_derived
    with pytest.raises(Refusal):
        await one.log.append(LogBatch("ga", (entry,), members=changes, title="coffee"))
    assert await ports.history.visible("ga", "cas") == []
    assert await ports.directory.channel_of("ben", "ga") is not None

    loaded = await other.load()
    assert loaded.title == "coffee"
    assert loaded.members == (Member("ann", Role.OWNER, 1, CREATED_AT_MS), Member("cas", Role.MEMBER, 2, 5))
    assert await ports.history.visible("ga", "cas") == [SeqRange(2)]
    assert await ports.history.visible("ga", "ben") == [SeqRange(1, 2)]
    assert await ports.directory.channel_of("ben", "ga") is None
    view = await ports.directory.channel_of("cas", "ga")
    assert view is not None and view.snapshot == loaded
    # What the first one wrote too late does not come back over what has happened since.
    gone = replace(other.draft(loaded, "")[0], kind=EntryKind.MEMBERSHIP)
    leaving = MembershipChange("cas", Role.MEMBER, 2, 5, until_seq=3)
    assert await other.log.append(LogBatch("ga", (gone,), members=(leaving,), title="tea")) == Appended()
    one.session.recover()
    await one.session.deliver()
    assert await ports.history.visible("ga", "cas") == [SeqRange(2, 3)]
    assert await ports.directory.channels_of("cas", None, 9) == []
    view = await ports.directory.channel_of("ann", "ga")
    assert view is not None and view.snapshot.title == "tea"


async def test_a_writer_that_is_paused_after_its_commit_does_not_bring_back_what_has_ended_since(
    ports: Ports, one: Writer, other: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await one.load()
    committed, resumed = asyncio.Event(), asyncio.Event()
    batch = one.cassandra.batch

    async def paused(statements: Iterable[tuple[Statement, Row]], conditional: bool = False) -> list[Row]:
        answer = await batch(statements, conditional)
        if conditional:
            committed.set()
            await resumed.wait()
        return answer

    monkeypatch.setattr(one.cassandra, "batch", paused)
    entry = replace(one.draft(snapshot, "")[0], kind=EntryKind.MEMBERSHIP)
    came = MembershipChange("cas", Role.MEMBER, 2, 5)
    late = asyncio.create_task(one.log.append(LogBatch("ga", (entry,), members=(came,), title="coffee")))
    await committed.wait()
    gone = replace(other.draft(await other.load(), "")[0], kind=EntryKind.MEMBERSHIP)
    left = replace(came, until_seq=3)
    assert await other.log.append(LogBatch("ga", (gone,), members=(left,), title="water")) == Appended()
    resumed.set()
    # That is so: it was written.
    assert await late == Appended()
    assert await ports.history.visible("ga", "cas") == [SeqRange(2, 3)]
    assert await ports.directory.channels_of("cas", None, 9) == []
    view = await ports.directory.channel_of("ann", "ga")
    assert view is not None and view.snapshot == await other.load()


async def test_that_a_channel_is_active_is_noted_by_whoever_loads_it_when_its_writer_did_not_come_so_far(
    one: Writer, other: Writer, ports: Ports
) -> None:
    snapshot = await one.load()
    await Scribe(one.log, ticker := Ticker(), "gb").create("ann")
    later = Scribe(one.log, ticker, "gc")
    await later.create("ann")
    (entry,) = one.draft(snapshot, "last")
    entry = replace(entry, position=later.head.position + 1)
    one.session.concerns = lambda cql: "SET active" in cql
    with pytest.raises(Refusal):
        await one.log.append(LogBatch("ga", (entry,)))
    await other.load()
    (latest,) = await ports.directory.channels_of("ann", None, 1)
    assert latest.snapshot.record.channel_id == "ga"


async def test_what_has_been_derived_is_not_derived_again_by_whoever_loads(one: Writer, other: Writer) -> None:
    asked: list[str] = []

    def note(cql: str) -> bool:
        asked.append(cql)
        return False

    for writer in (one, other):
        writer.session.concerns = note
        await writer.load()
    assert asked and all(cql.startswith("SELECT") for cql in asked)


async def test_a_deleted_text_in_an_earlier_partition_is_gone_after_a_takeover(
    ports: Ports, one: Writer, other: Writer
) -> None:
    await one.settle("secret")
    await one.fill(BUCKET + 1)
    snapshot = await one.load()
    message = one.draft(snapshot, "")[0]
    deletion = replace(message, kind=EntryKind.DELETION, target_seq=2)
    one.session.concerns = _is_derived
    with pytest.raises(Refusal):
        await one.log.append(LogBatch("ga", (deletion,), redactions=((2, b"redacted"),)))
    (row,) = await ports.history.messages("ga", ALL, PageRequest(before_seq=3, limit=9))
    assert row.message.body == b"secret" and row.latest_change == deletion
    await other.load()
    (row,) = await ports.history.messages("ga", ALL, PageRequest(before_seq=3, limit=9))
    assert row.message.body == b"redacted" and row.message.client_message_id == "secret"


async def test_a_message_that_is_edited_and_deleted_in_one_batch_leaves_no_text(ports: Ports, one: Writer) -> None:
    await one.settle("secret")
    edit, deletion = one.draft(await one.load(), "", "")
    edit = replace(edit, kind=EntryKind.EDIT, target_seq=2, body=b"zzz secret")
    deletion = replace(deletion, kind=EntryKind.DELETION, target_seq=2)
    redactions = ((2, b"redacted"), (edit.seq, b"redacted"))
    assert await one.log.append(LogBatch("ga", (edit, deletion), redactions=redactions)) == Appended()
    found = await ports.history.entries("ga", ALL, PageRequest(after_seq=1, limit=9))
    assert [each.body for each in found] == [b"redacted", b"redacted", deletion.body]


async def test_a_change_that_was_announced_and_never_written_changes_nothing(
    ports: Ports, one: Writer, other: Writer
) -> None:
    await one.settle("message")
    snapshot = await one.load()
    edit = replace(one.draft(snapshot, "")[0], kind=EntryKind.EDIT, target_seq=2)
    one.session.concerns = _is_commit
    with pytest.raises(Refusal):
        await one.log.append(LogBatch("ga", (edit,)))
    for _ in range(2):
        (row,) = await ports.history.messages("ga", ALL, PageRequest(before_seq=3, limit=9))
        assert row.latest_change is None
        assert [each.seq for each in (await other.log.message_with_changes("ga", {2}))[2]] == [2]
        # Then something else is written in its place.
        await other.settle("another message")


# --- partitions -------------------------------------------------------------------------------------------------------


def test_a_batch_goes_up_to_the_boundary_and_not_beyond(ports: Ports) -> None:
    assert [ports.log.batch_capacity(head) for head in (0, 1, 998, 999, 1000, 1001, 1999, 2000)] == [
        1000, 999, 2, 1, 1000, 999, 1, 1000,
    ]  # fmt: skip


async def test_a_batch_beyond_the_boundary_is_a_mistake_of_the_caller(ports: Ports, one: Writer) -> None:
    await one.fill(BUCKET - 1)
    with pytest.raises(ValueError, match="1000 to 1001"):
        await one.send("last", "first")
    assert len(await _names(ports)) == BUCKET - 2


async def test_a_channel_of_several_partitions_loads_as_it_was_left(ports: Ports, one: Writer, other: Writer) -> None:
    scribe = Scribe(one.log, Ticker(ports.clock), "gb")
    await scribe.create("ann", "ben", title="tea")
    await scribe.add("cas")
    await scribe.remove("ben")
    for _ in range(2):
        while len(scribe.entries) % BUCKET:
            drafts = [
                scribe.draft(EntryKind.MESSAGE, "ann") for _ in range(one.log.batch_capacity(len(scribe.entries)))
            ]
            entries = tuple(replace(each, seq=each.seq + at) for at, each in enumerate(drafts))
            assert await one.log.append(LogBatch("gb", entries)) == Appended()
            scribe.entries += entries
        await scribe.add("dan" if len(scribe.entries) == BUCKET else "eve")
    snapshot = await other.load("gb")
    assert snapshot == await one.load("gb")
    assert snapshot.title == "tea"
    assert [each.user_id for each in snapshot.members] == ["ann", "cas", "dan", "eve"]
    assert (snapshot.head_seq, snapshot.head_position) == (2 * BUCKET + 1, scribe.head.position)
    # Only the open partition and the channel's row are read: what was before is in the row.
    opened = Statement("SELECT state_seq, head_bucket FROM channels WHERE channel_id = 'gb'")
    assert await one.cassandra.execute(opened) == [(2 * BUCKET, 2)]
    page = await ports.history.entries("gb", ALL, PageRequest(after_seq=BUCKET - 2, limit=4))
    assert page == scribe.entries[BUCKET - 2 : BUCKET + 2]
    page = await ports.history.entries("gb", ALL, PageRequest(before_seq=BUCKET + 3, limit=4))
    assert page == scribe.entries[BUCKET - 2 : BUCKET + 2]
    page = await ports.history.entries("gb", (SeqRange(BUCKET - 1, BUCKET), SeqRange(2 * BUCKET)), PageRequest(limit=9))
    assert [each.seq for each in page] == [BUCKET - 1, BUCKET, 2 * BUCKET, 2 * BUCKET + 1]
    rows = await ports.history.messages("gb", ALL, PageRequest(limit=3))
    assert [each.message.seq for each in rows] == [2 * BUCKET - 2, 2 * BUCKET - 1, 2 * BUCKET]


async def test_a_partition_that_was_opened_and_not_written_to_is_taken_up(
    ports: Ports, one: Writer, other: Writer
) -> None:
    await one.fill(BUCKET)
    one.session.concerns = _is_commit
    await _unavailable(one, "first of the next")
    loaded = await other.load()
    assert loaded.head_seq == BUCKET
    (last,) = await ports.history.entries("ga", ALL, PageRequest(limit=1))
    assert loaded.head_position == last.position
    view = await ports.directory.channel_of("ann", "ga")
    assert view is not None and view.snapshot == loaded and view.unread_count == 0
    assert await other.send("first of the next") == Appended()
    await one.session.deliver()
    assert (await _names(ports))[-2:] == [f"filler {BUCKET}", "first of the next"]
    # What was sent before the boundary is known, though the open partition had nothing in it.
    assert isinstance(await other.send(f"filler {BUCKET}"), AlreadySent)


async def test_two_who_open_a_partition_at_the_same_time_open_one(ports: Ports, one: Writer, other: Writer) -> None:
    await one.fill(BUCKET)
    snapshots = await asyncio.gather(one.load(), other.load())
    outcomes = await asyncio.gather(one.send("one's", after=snapshots[0]), other.send("other's", after=snapshots[1]))
    assert sorted(map(repr, outcomes)) == ["Appended()", "HeadMoved()"]
    assert len(await _names(ports)) == BUCKET


async def test_who_missed_the_opening_of_two_partitions_is_refused(one: Writer, other: Writer) -> None:
    await one.fill(BUCKET)
    before = await one.load()
    await other.fill(2 * BUCKET + 1)
    assert await one.send("late", after=before) == HeadMoved()
    assert await one.send("in time") == Appended()


async def test_unread_messages_are_counted_over_partitions(ports: Ports, one: Writer) -> None:
    await one.fill(BUCKET + 20)
    view = await ports.directory.channel_of("ben", "ga")
    assert view is not None
    assert view.unread_count == 999
