"""Reading the logs: pages in both directions, over several stays, and what a message has become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.engines import Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core.ports import PageRequest
from tidings.core.values import ChannelKind, MessageRow, SeqRange

ALL = (SeqRange(1),)
LARGEST = 2**64 - 1
"""The largest number that a client can send."""


@pytest.fixture
async def scribe(ports: Ports) -> Scribe:
    """A group whose entry 1 made it and whose entries 2 to 10 are messages."""
    scribe = Scribe(ports.log, Ticker(), "ga")
    await scribe.create("ann", "ben")
    for _ in range(9):
        await scribe.send("ann")
    return scribe


# --- who may see what -------------------------------------------------------------------------------------------------


async def test_members_see_from_where_they_came_in(ports: Ports, scribe: Scribe) -> None:
    await scribe.add("cas")
    assert await ports.history.visible("ga", "ann") == [SeqRange(1)]
    assert await ports.history.visible("ga", "cas") == [SeqRange(11)]


async def test_whoever_was_never_there_sees_nothing(ports: Ports, scribe: Scribe) -> None:
    assert await ports.history.visible("ga", "eve") == []
    assert await ports.history.visible("gx", "ann") == []


async def test_each_stay_is_a_range_up_to_the_entry_that_ended_it(ports: Ports, scribe: Scribe) -> None:
    await scribe.remove("ben")
    await scribe.send("ann")
    await scribe.add("ben")
    await scribe.remove("ben")
    await scribe.add("ben")
    assert await ports.history.visible("ga", "ben") == [SeqRange(1, 11), SeqRange(13, 14), SeqRange(15)]


async def test_both_people_of_a_direct_channel_see_it_from_the_start(ports: Ports) -> None:
    await Scribe(ports.log, Ticker(), "dx", ChannelKind.DIRECT).create("ann", "ben")
    assert await ports.history.visible("dx", "ben") == [SeqRange(1)]
    assert await ports.history.entries("dx", ALL, PageRequest(limit=10)) == []
    assert await ports.history.messages("dx", ALL, PageRequest(limit=10)) == []


# --- pages ------------------------------------------------------------------------------------------------------------

PAGES = [
    # before_seq, after_seq, limit: seqs
    (0, None, 3, [8, 9, 10]),
    (0, None, 99, list(range(1, 11))),
    (8, None, 3, [5, 6, 7]),
    (3, None, 3, [1, 2]),
    (1, None, 3, []),
    (99, None, 3, [8, 9, 10]),
    (LARGEST, None, 3, [8, 9, 10]),
    (0, 0, 99, list(range(1, 11))),
    (0, 1, 3, [2, 3, 4]),
    (0, 8, 3, [9, 10]),
    (0, 10, 3, []),
    (0, 99, 3, []),
    (0, 2**63 - 1, 3, []),
    (0, LARGEST, 3, []),
]


@pytest.mark.parametrize(("before_seq", "after_seq", "limit", "seqs"), PAGES)
async def test_a_page_of_the_log(
    ports: Ports, scribe: Scribe, before_seq: int, after_seq: int | None, limit: int, seqs: list[int]
) -> None:
    page = await ports.history.entries("ga", ALL, PageRequest(before_seq, after_seq, limit))
    assert page == [scribe.entries[seq - 1] for seq in seqs]


@pytest.mark.parametrize(("before_seq", "after_seq", "limit", "seqs"), PAGES)
async def test_a_page_of_messages(
    ports: Ports, scribe: Scribe, before_seq: int, after_seq: int | None, limit: int, seqs: list[int]
) -> None:
    # The entry that made the group is no message.
    page = await ports.history.messages("ga", ALL, PageRequest(before_seq, after_seq, limit))
    assert page == [MessageRow(scribe.entries[seq - 1], None) for seq in seqs if seq > 1]


async def test_a_page_after_nothing_is_the_first_one(ports: Ports, scribe: Scribe) -> None:
    page = PageRequest(after_seq=0, limit=3)
    assert await ports.history.entries("ga", ALL, page) == scribe.entries[:3]
    # The entry that made the group is no message.
    assert await ports.history.messages("ga", ALL, page) == [MessageRow(each, None) for each in scribe.entries[1:4]]


STAYS = (SeqRange(2, 3), SeqRange(5, 5), SeqRange(8))
"""Of these the log of `scribe` has the seqs 2, 3, 5, 8, 9 and 10."""


@pytest.mark.parametrize(
    ("before_seq", "after_seq", "limit", "seqs"),
    [
        (0, None, 99, [2, 3, 5, 8, 9, 10]),
        (0, None, 4, [5, 8, 9, 10]),
        (8, None, 2, [3, 5]),
        (7, None, 2, [3, 5]),
        (5, None, 2, [2, 3]),
        (2, None, 2, []),
        (0, 0, 3, [2, 3, 5]),
        (0, 1, 3, [2, 3, 5]),
        (0, 2, 3, [3, 5, 8]),
        (0, 3, 2, [5, 8]),
        (0, 6, 2, [8, 9]),
        (0, 9, 2, [10]),
    ],
)
async def test_a_page_goes_over_several_stays(
    ports: Ports, scribe: Scribe, before_seq: int, after_seq: int | None, limit: int, seqs: list[int]
) -> None:
    entries = [scribe.entries[seq - 1] for seq in seqs]
    assert await ports.history.entries("ga", STAYS, PageRequest(before_seq, after_seq, limit)) == entries
    messages = [MessageRow(each, None) for each in entries]
    assert await ports.history.messages("ga", STAYS, PageRequest(before_seq, after_seq, limit)) == messages


async def test_a_full_page_of_messages_skips_what_is_none(ports: Ports, scribe: Scribe) -> None:
    for _ in range(5):
        await scribe.edit(scribe.entries[1])
    last = await scribe.send("ben")
    page = await ports.history.messages("ga", ALL, PageRequest(limit=3))
    assert [row.message.seq for row in page] == [9, 10, last.seq]
    page = await ports.history.messages("ga", ALL, PageRequest(after_seq=9, limit=3))
    assert [row.message.seq for row in page] == [10, last.seq]


async def test_nothing_is_visible_without_a_range(ports: Ports, scribe: Scribe) -> None:
    assert await ports.history.entries("ga", (), PageRequest(limit=10)) == []
    assert await ports.history.messages("ga", (), PageRequest(limit=10)) == []


async def test_a_page_is_bounded_in_bytes(ports: Ports) -> None:
    scribe = Scribe(ports.log, Ticker(), "ga")
    await scribe.create("ann")
    for _ in range(5):
        await scribe.send("ann", b"x" * 100)

    async def seqs(before_seq: int, after_seq: int | None, limit: int, most_bytes: int) -> list[int]:
        entries = await ports.history.entries(
            "ga", (SeqRange(2),), PageRequest(before_seq, after_seq, limit, most_bytes)
        )
        messages = await ports.history.messages("ga", ALL, PageRequest(before_seq, after_seq, limit, most_bytes))
        assert [each.seq for each in entries] == [each.message.seq for each in messages]
        return [each.seq for each in entries]

    assert await seqs(0, None, 5, 500) == [2, 3, 4, 5, 6]
    assert await seqs(0, None, 5, 499) == [3, 4, 5, 6]
    assert await seqs(0, 0, 5, 499) == [2, 3, 4, 5]
    assert await seqs(0, 1, 5, 499) == [2, 3, 4, 5]
    assert await seqs(6, None, 5, 250) == [4, 5]
    # At least one, however large it is.
    assert await seqs(0, None, 5, 1) == [6]
    assert await seqs(0, 3, 5, 99) == [4]


async def test_the_latest_change_of_a_message_counts_towards_the_bound(ports: Ports) -> None:
    scribe = Scribe(ports.log, Ticker(), "ga")
    await scribe.create("ann")
    messages = [await scribe.send("ann", b"x" * 10) for _ in range(3)]
    await scribe.edit(messages[1], b"x" * 1_000)
    edit = await scribe.edit(messages[1], b"x" * 80)
    assert await ports.history.messages("ga", ALL, PageRequest(after_seq=1, limit=9, most_bytes=100)) == [
        MessageRow(messages[0], None),
        MessageRow(messages[1], edit),
    ]
    assert await ports.history.messages("ga", ALL, PageRequest(after_seq=1, limit=9, most_bytes=99)) == [
        MessageRow(messages[0], None)
    ]


# --- what a message has become ----------------------------------------------------------------------------------------


async def test_a_message_comes_with_its_latest_change_only(ports: Ports, scribe: Scribe) -> None:
    edited, deleted, untouched = scribe.entries[1:4]
    await scribe.edit(edited)
    await scribe.edit(deleted)
    latest = await scribe.edit(edited)
    deletion = await scribe.delete(deleted)
    page = await ports.history.messages("ga", ALL, PageRequest(before_seq=5, limit=10))
    assert page == [
        MessageRow(edited, latest),
        MessageRow(replace(deleted, body=b"redacted"), deletion),
        MessageRow(untouched, None),
    ]
    assert await ports.history.messages("ga", ALL, PageRequest(after_seq=1, limit=3)) == page


async def test_changes_outside_the_ranges_are_not_seen(ports: Ports, scribe: Scribe) -> None:
    message = scribe.entries[1]
    seen = await scribe.edit(message)
    unseen = await scribe.edit(message)
    later = await scribe.edit(message)

    async def latest(*ranges: SeqRange) -> object:
        (row,) = await ports.history.messages("ga", ranges, PageRequest(before_seq=3, limit=10))
        return row.latest_change

    assert await latest(SeqRange(1, 10)) is None
    assert await latest(SeqRange(1, seen.seq)) == seen
    assert await latest(SeqRange(1, 10), SeqRange(later.seq)) == later
    assert await latest(SeqRange(1, 10), SeqRange(unseen.seq, unseen.seq)) == unseen


async def test_the_text_of_a_deleted_message_is_gone_from_the_log(ports: Ports, scribe: Scribe) -> None:
    message = scribe.entries[4]
    edit = await scribe.edit(message)
    await scribe.delete(message)
    found = {each.seq: each for each in await ports.history.entries("ga", ALL, PageRequest(limit=99))}
    assert found[message.seq] == replace(message, body=b"redacted")
    assert found[edit.seq] == replace(edit, body=b"redacted")
    assert list(found.values()) == scribe.entries
