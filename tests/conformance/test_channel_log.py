"""The logs of the channels: what is appended is there, once, in order, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.engines import OpenPorts, Ports
from tests.conformance.scribe import CREATED_AT_MS, Scribe, Ticker
from tidings.core.ports import PageRequest
from tidings.core.values import (
    AlreadySent,
    Appended,
    ChannelKind,
    ChannelRecord,
    EntryKind,
    HeadMoved,
    LogBatch,
    Marks,
    Member,
    MembershipChange,
    Role,
    SeqRange,
)

ALL = (SeqRange(1),)


@pytest.fixture
async def scribe(ports: Ports) -> Scribe:
    """A group of ann (owner) and ben; its log begins with the entry that made it."""
    scribe = Scribe(ports.log, Ticker(), "ga")
    await scribe.create("ann", "ben", title="tea")
    return scribe


async def test_a_channel_that_nobody_made_is_none(ports: Ports) -> None:
    assert await ports.log.load("ga") is None


async def test_a_made_group_loads_with_its_members_and_head(ports: Ports, scribe: Scribe) -> None:
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert snapshot.record == ChannelRecord("ga", ChannelKind.GROUP, CREATED_AT_MS)
    assert snapshot.title == "tea"
    assert snapshot.members == (
        Member("ann", Role.OWNER, 1, CREATED_AT_MS),
        Member("ben", Role.MEMBER, 1, CREATED_AT_MS),
    )
    assert (snapshot.head_seq, snapshot.head_position) == (1, scribe.head.position)
    assert snapshot.marks == {}
    assert snapshot.blocked is False


async def test_a_direct_channel_is_there_before_its_first_entry(ports: Ports) -> None:
    scribe = Scribe(ports.log, Ticker(), "dx", ChannelKind.DIRECT)
    await scribe.create("ann", "ben")
    snapshot = await ports.log.load("dx")
    assert snapshot is not None
    assert (snapshot.record.kind, snapshot.title, snapshot.head_seq, snapshot.head_position) == (
        ChannelKind.DIRECT,
        "",
        0,
        0,
    )
    first = await scribe.send("ann")
    assert await ports.history.entries("dx", ALL, PageRequest(limit=10)) == [first]


async def test_a_direct_channel_is_blocked_while_either_blocks_the_other(ports: Ports) -> None:
    await Scribe(ports.log, Ticker(), "dx", ChannelKind.DIRECT).create("ann", "ben")

    async def blocked() -> bool:
        snapshot = await ports.log.load("dx")
        assert snapshot is not None
        return snapshot.blocked

    assert not await blocked()
    for one, other in (("ann", "ben"), ("ben", "ann")):
        await ports.contacts.block(one, other, 1)
        assert await blocked()
        await ports.contacts.unblock(one, other)
        assert not await blocked()
    await ports.contacts.block("ann", "cas", 1)
    assert not await blocked()


async def test_a_block_means_nothing_in_a_group(ports: Ports, scribe: Scribe) -> None:
    await ports.contacts.block("ann", "ben", 1)
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert snapshot.blocked is False


async def test_a_channel_can_be_made_once(ports: Ports, scribe: Scribe) -> None:
    record = ChannelRecord("ga", ChannelKind.GROUP, 5)
    entry = scribe.draft(EntryKind.MEMBERSHIP, "eve")
    again = LogBatch("ga", (replace(entry, seq=1),), record, (MembershipChange("eve", Role.OWNER, 1, 5),), "mine")
    assert await ports.log.append(again) == HeadMoved()
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert (snapshot.title, [each.user_id for each in snapshot.members]) == ("tea", ["ann", "ben"])


async def test_two_who_make_a_channel_at_the_same_time_make_one(ports: Ports) -> None:
    def made_by(user_id: str) -> LogBatch:
        members = (MembershipChange(user_id, Role.MEMBER, 1, 5), MembershipChange("ben", Role.MEMBER, 1, 5))
        return LogBatch("dx", (), ChannelRecord("dx", ChannelKind.DIRECT, 5), members)

    outcomes = await asyncio.gather(ports.log.append(made_by("ann")), ports.log.append(made_by("cas")))
    assert sorted(map(repr, outcomes)) == ["Appended()", "HeadMoved()"]
    winner = "ann" if outcomes[0] == Appended() else "cas"
    snapshot = await ports.log.load("dx")
    assert snapshot is not None
    assert {each.user_id for each in snapshot.members} == {winner, "ben"}


async def test_a_batch_is_written_as_it_is(ports: Ports, scribe: Scribe) -> None:
    message = scribe.draft(EntryKind.MESSAGE, "ann", b"\x00\xff", "name")
    edit = replace(scribe.draft(EntryKind.EDIT, "ann", b"", "", message.seq), seq=message.seq + 1)
    title = replace(scribe.draft(EntryKind.TITLE, "ann"), seq=message.seq + 2)
    assert await ports.log.append(LogBatch("ga", (message, edit, title), title="coffee")) == Appended()
    assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == [*scribe.entries, message, edit, title]
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert (snapshot.title, snapshot.head_seq, snapshot.head_position) == ("coffee", 4, title.position)


@pytest.mark.parametrize("seq", [1, 2, 4])
async def test_a_batch_that_does_not_follow_the_head_leaves_nothing(ports: Ports, scribe: Scribe, seq: int) -> None:
    await scribe.send("ann")
    before = await ports.log.load("ga")
    batch = LogBatch(
        "ga",
        (replace(scribe.draft(EntryKind.MESSAGE, "ben", name="name"), seq=seq),),
        members=(MembershipChange("cas", Role.MEMBER, seq, 5),),
        title="other",
        redactions=((2, b"gone"),),
        wakes_push=True,
    )
    assert await ports.log.append(batch) == HeadMoved()
    assert await ports.log.load("ga") == before
    assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == scribe.entries
    assert await ports.history.visible("ga", "cas") == []
    assert await ports.pending_push.channels() == {}
    # The name is free still.
    assert (await scribe.send("ben", name="name")).seq == 3


async def test_of_two_who_write_the_same_seq_one_wins(ports: Ports, scribe: Scribe) -> None:
    rivals = [LogBatch("ga", (scribe.draft(EntryKind.MESSAGE, each),)) for each in ("ann", "ben")]
    outcomes = await asyncio.gather(*map(ports.log.append, rivals))
    assert sorted(map(repr, outcomes)) == ["Appended()", "HeadMoved()"]
    winner = rivals[outcomes.index(Appended())]
    assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == [*scribe.entries, *winner.entries]


async def test_entries_are_read_by_their_seq(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann")
    edit = await scribe.edit(message)
    entries = {each.seq: each for each in scribe.entries}
    assert await ports.log.entries_at("ga", [edit.seq, 1, message.seq, 99]) == {
        seq: entries[seq] for seq in (1, message.seq, edit.seq)
    }
    assert await ports.log.entries_at("gx", [1]) == {}


async def test_what_was_sent_before_gives_its_first_place_and_nothing_is_written(ports: Ports, scribe: Scribe) -> None:
    first = await scribe.send("ann", name="one")
    second = await scribe.edit(first, name="two")
    before = await ports.log.load("ga")
    new = scribe.draft(EntryKind.MESSAGE, "ann", name="three")
    again = [
        replace(scribe.draft(EntryKind.MESSAGE, "ann", name=name), seq=new.seq + offset)
        for offset, name in enumerate(("two", "one"), start=1)
    ]
    batch = LogBatch("ga", (new, *again), title="other", redactions=((2, b"gone"),), wakes_push=True)
    assert await ports.log.append(batch) == AlreadySent(
        {("ann", "one"): (first.seq, first.position), ("ann", "two"): (second.seq, second.position)}
    )
    assert await ports.log.load("ga") == before
    assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == scribe.entries
    assert await ports.pending_push.channels() == {}
    assert await ports.log.append(LogBatch("ga", (new,))) == Appended()


async def test_a_name_is_its_authors_and_its_channels_own(ports: Ports, scribe: Scribe) -> None:
    other = Scribe(ports.log, scribe.ticker, "gb")
    await other.create("ann", "ben")
    written = [
        await scribe.send("ann", name="one"),
        await scribe.send("ben", name="one"),
        await other.send("ann", name="one"),
    ]
    assert [each.seq for each in written] == [2, 3, 2]


async def test_entries_without_a_name_are_never_a_repeat(ports: Ports, scribe: Scribe) -> None:
    assert [(await scribe.send("ann")).seq for _ in range(3)] == [2, 3, 4]


async def test_a_repeat_behind_a_moved_head_is_refused_as_either(ports: Ports, scribe: Scribe) -> None:
    first = await scribe.send("ann", name="one")
    stale = replace(scribe.draft(EntryKind.MESSAGE, "ann", name="one"), seq=2)
    outcome = await ports.log.append(LogBatch("ga", (stale,)))
    assert outcome in (HeadMoved(), AlreadySent({("ann", "one"): (first.seq, first.position)}))
    assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == scribe.entries


async def test_members_come_go_and_change_roles(ports: Ports, scribe: Scribe) -> None:
    await scribe.add("cas", "dan")
    await scribe.remove("ben")
    entry = scribe.draft(EntryKind.MEMBERSHIP, "ann")
    cas = scribe.members["cas"]
    assert await ports.log.append(LogBatch("ga", (entry,), members=(replace(cas, role=Role.ADMIN),))) == Appended()
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    # The longest-serving first.
    assert snapshot.members == (
        Member("ann", Role.OWNER, 1, CREATED_AT_MS),
        Member("cas", Role.ADMIN, 2, cas.joined_at_ms),
        Member("dan", Role.MEMBER, 2, scribe.members["dan"].joined_at_ms),
    )


async def test_who_came_in_together_stands_by_role_then_by_id(ports: Ports) -> None:
    scribe = Scribe(ports.log, Ticker(), "ga")
    await scribe.create("zoe", "ben", "ann")
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert [each.user_id for each in snapshot.members] == ["zoe", "ann", "ben"]


async def test_who_comes_back_begins_anew(ports: Ports, scribe: Scribe) -> None:
    await scribe.remove("ben")
    await scribe.send("ann")
    back = await scribe.add("ben")
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert snapshot.members[-1] == Member("ben", Role.MEMBER, back.seq, CREATED_AT_MS + back.seq)


async def test_somebody_may_come_and_go_within_one_batch(ports: Ports, scribe: Scribe) -> None:
    added = scribe.draft(EntryKind.MEMBERSHIP, "ann")
    removed = replace(scribe.draft(EntryKind.MEMBERSHIP, "ann"), seq=3)
    changes = (MembershipChange("cas", Role.MEMBER, 2, 5), MembershipChange("cas", Role.MEMBER, 2, 5, until_seq=3))
    assert await ports.log.append(LogBatch("ga", (added, removed), members=changes)) == Appended()
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert "cas" not in {each.user_id for each in snapshot.members}
    assert await ports.history.visible("ga", "cas") == [SeqRange(2, 3)]


async def test_redactions_replace_bodies_and_nothing_else(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann", b"secret", "one")
    edit = await scribe.edit(message, b"secret too", "two")
    kept = await scribe.send("ann", b"kept")
    assert await ports.log.append(LogBatch("ga", (), redactions=((2, b"-"), (3, b"=")))) == Appended()
    assert await ports.history.entries("ga", ALL, PageRequest(after_seq=1, limit=10)) == [
        replace(message, body=b"-"),
        replace(edit, body=b"="),
        kept,
    ]


async def test_an_empty_batch_is_no_error(ports: Ports, scribe: Scribe) -> None:
    before = await ports.log.load("ga")
    assert await ports.log.append(LogBatch("ga", ())) == Appended()
    assert await ports.log.load("ga") == before


async def test_a_message_comes_with_its_changes_in_order(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann")
    other = await scribe.send("ben")
    edits = [await scribe.edit(message), await scribe.edit(message)]
    asked = {1, 2, 3, edits[0].seq, 99, 2**63, 2**64 - 1}
    found = await ports.log.message_with_changes("ga", asked)
    assert {seq: list(entries) for seq, entries in found.items()} == {2: [message, *edits], 3: [other]}
    deletion = await scribe.delete(message)
    found = await ports.log.message_with_changes("ga", asked)
    redacted = replace(message, body=b"redacted")
    assert {seq: list(entries) for seq, entries in found.items()} == {2: [redacted, deletion], 3: [other]}
    assert await ports.log.message_with_changes("gb", {2}) == {}


async def test_marks_are_kept_whole(ports: Ports, scribe: Scribe) -> None:
    await scribe.send("ann")
    await ports.log.save_marks("ga", scribe.ticker.next(), {"ann": Marks(2, 1), "ben": Marks(1, 0)})
    await ports.log.save_marks("ga", scribe.ticker.next(), {"ann": Marks(2, 2), "cas": Marks(0, 0)})
    snapshot = await ports.log.load("ga")
    assert snapshot is not None
    assert snapshot.marks == {"ann": Marks(2, 2), "cas": Marks(0, 0)}


async def test_no_entry_of_any_channel_is_beyond_the_committed_position(ports: Ports) -> None:
    before = await ports.log.committed_position()
    ticker = Ticker(ports.clock)
    for channel_id in ("ga", "gb"):
        scribe = Scribe(ports.log, ticker, channel_id)
        await scribe.create("ann")
        position = await ports.log.committed_position()
        assert position >= max(before, scribe.head.position)
        before = position
    # Nor is what was never written waited for.
    stale = replace(scribe.draft(EntryKind.MESSAGE, "ann"), seq=7, position=ticker.latest * 2)
    assert await ports.log.append(LogBatch("gb", (stale,))) == HeadMoved()
    assert before <= await ports.log.committed_position() < stale.position


async def test_everything_is_there_after_the_storage_was_closed(engine: OpenPorts, tmp_path: Path) -> None:
    async with engine(tmp_path / "again") as ports:
        scribe = Scribe(ports.log, Ticker(ports.clock), "ga")
        await scribe.create("ann", "ben")
        message = await scribe.send("ann", name="one")
        await ports.log.save_marks("ga", scribe.ticker.next(), {"ann": Marks(2, 2)})
        before = await ports.log.load("ga")
    async with engine(tmp_path / "again") as ports:
        ports.clock.advance(3600)
        assert await ports.log.load("ga") == before
        assert await ports.history.entries("ga", ALL, PageRequest(limit=10)) == scribe.entries
        assert await ports.log.committed_position() >= message.position
        again = scribe.draft(EntryKind.MESSAGE, "ann", name="one")
        outcome = await ports.log.append(LogBatch("ga", (again,)))
        assert outcome == AlreadySent({("ann", "one"): (message.seq, message.position)})
