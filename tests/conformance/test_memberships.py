"""Who is in which channels, and how a channel looks to one of its members."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.engines import Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core.limits import UNREAD_COUNT
from tidings.core.values import Appended, ChannelKind, ChannelView, EntryKind, LogBatch, Marks, Role


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


async def _view(ports: Ports, user_id: str, channel_id: str = "ga") -> ChannelView:
    view = await ports.directory.channel_of(user_id, channel_id)
    assert view is not None
    return view


async def _ids(ports: Ports, user_id: str, after: tuple[int, str] | None = None, limit: int = 99) -> list[str]:
    return [each.snapshot.record.channel_id for each in await ports.directory.channels_of(user_id, after, limit)]


# --- one channel ------------------------------------------------------------------------------------------------------


async def test_a_member_sees_the_channel_as_it_is_committed(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    await scribe.send("ben")
    await ports.log.save_marks("ga", ticker.next(), {"ann": Marks(2, 1)})
    view = await _view(ports, "ann")
    assert view.snapshot == await ports.log.load("ga")
    assert (view.muted, view.unread_count) == (False, 1)


async def test_nobody_else_sees_the_channel(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    await scribe.remove("ben")
    assert await ports.directory.channel_of("ben", "ga") is None
    assert await ports.directory.channel_of("eve", "ga") is None
    assert await ports.directory.channel_of("ann", "gx") is None
    await scribe.add("ben")
    assert (await _view(ports, "ben")).snapshot.head_seq == 3


async def test_unread_are_the_messages_of_others_after_the_read_mark(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    first = await scribe.send("ben")
    await scribe.send("ann")
    last = await scribe.send("ben")
    await scribe.edit(last)
    assert (await _view(ports, "ann")).unread_count == 2
    assert (await _view(ports, "ben")).unread_count == 1
    await ports.log.save_marks("ga", ticker.next(), {"ann": Marks(first.seq, first.seq)})
    assert (await _view(ports, "ann")).unread_count == 1
    await ports.log.save_marks("ga", ticker.next(), {"ann": Marks(last.seq, last.seq)})
    assert (await _view(ports, "ann")).unread_count == 0


async def test_deleted_messages_are_not_unread(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    messages = [await scribe.send("ben"), await scribe.send("ann"), await scribe.send("ben")]
    await scribe.edit(messages[0])
    for deleted, unread in zip(messages, (1, 1, 0), strict=True):
        await scribe.delete(deleted)
        assert (await _view(ports, "ann")).unread_count == unread


async def test_what_was_before_a_member_is_not_unread(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    await scribe.send("ann")
    await ports.log.save_marks("ga", ticker.next(), {"ben": Marks(1, 1)})
    await scribe.remove("ben")
    await scribe.send("ann")
    await scribe.add("ben")
    await scribe.send("ann")
    assert (await _view(ports, "ben")).unread_count == 1


async def test_the_unread_count_stops_at_its_bound(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    head = scribe.head.seq
    messages = [scribe.draft(EntryKind.MESSAGE, "ben") for _ in range(UNREAD_COUNT + 1)]
    entries = [replace(each, seq=head + at, body=b"") for at, each in enumerate(messages, 1)]
    while entries:
        room = ports.log.batch_capacity(entries[0].seq - 1)
        assert await ports.log.append(LogBatch("ga", tuple(entries[:room]))) == Appended()
        del entries[:room]
    assert (await _view(ports, "ann")).unread_count == UNREAD_COUNT


# --- how many ---------------------------------------------------------------------------------------------------------


async def test_channels_are_counted_while_one_is_in_them(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{letter}") for letter in "abc"]
    for scribe in scribes:
        await scribe.create("ann", "ben")
    await Scribe(ports.log, ticker, "dx", ChannelKind.DIRECT).create("ann", "ben")
    assert await ports.directory.channel_counts(["ann", "ben", "eve"]) == {"ann": 4, "ben": 4, "eve": 0}
    assert await ports.directory.channel_counts([]) == {}
    await scribes[0].remove("ben")
    await scribes[1].remove("ben")
    await scribes[1].add("ben", "cas")
    await scribes[1].remove("ben")
    await scribes[1].add("ben")
    assert await ports.directory.channel_counts(["ann", "ben", "cas"]) == {"ann": 4, "ben": 3, "cas": 1}


async def test_groups_are_counted_while_one_owns_them(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{letter}") for letter in "ab"]
    for scribe in scribes:
        await scribe.create("ann", "ben")
    await Scribe(ports.log, ticker, "gc").create("ben", "ann")
    await Scribe(ports.log, ticker, "dx", ChannelKind.DIRECT).create("ann", "ben")
    assert [await ports.directory.owned_count(each) for each in ("ann", "ben", "eve")] == [2, 1, 0]
    await scribes[0].give("ben", Role.OWNER)
    await scribes[0].give("ann", Role.ADMIN)
    assert [await ports.directory.owned_count(each) for each in ("ann", "ben")] == [1, 2]
    await scribes[1].remove("ann")
    assert [await ports.directory.owned_count(each) for each in ("ann", "ben")] == [0, 2]


# --- the list ---------------------------------------------------------------------------------------------------------


async def test_channels_come_by_latest_activity(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{letter}") for letter in "abc"]
    for scribe in scribes:
        await scribe.create("ann")
    assert await _ids(ports, "ann") == ["gc", "gb", "ga"]
    await scribes[0].send("ann")
    assert await _ids(ports, "ann") == ["ga", "gc", "gb"]
    views = await ports.directory.channels_of("ann", None, 99)
    assert views == [await _view(ports, "ann", each) for each in ("ga", "gc", "gb")]


async def test_channels_without_an_entry_come_last_by_id(ports: Ports, ticker: Ticker) -> None:
    for channel_id in ("dx", "dz", "dy"):
        await Scribe(ports.log, ticker, channel_id, ChannelKind.DIRECT).create("ann", "ben")
    await Scribe(ports.log, ticker, "ga").create("ann")
    assert await _ids(ports, "ann") == ["ga", "dz", "dy", "dx"]
    assert await _ids(ports, "ben") == ["dz", "dy", "dx"]
    assert await _ids(ports, "ann", (0, "dz")) == ["dy", "dx"]


async def test_pages_follow_one_another(ports: Ports, ticker: Ticker) -> None:
    for number in range(5):
        await Scribe(ports.log, ticker, f"g{number}").create("ann")
    for number in range(3):
        await Scribe(ports.log, ticker, f"d{number}", ChannelKind.DIRECT).create("ann", "ben")
    found: list[str] = []
    after = None
    while page := await ports.directory.channels_of("ann", after, 3):
        assert len(page) <= 3
        found += [each.snapshot.record.channel_id for each in page]
        last = page[-1].snapshot
        after = last.head_position, last.record.channel_id
    assert found == ["g4", "g3", "g2", "g1", "g0", "d2", "d1", "d0"]


async def test_only_channels_that_one_is_in_are_listed(ports: Ports, ticker: Ticker) -> None:
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    await Scribe(ports.log, ticker, "gb").create("ben")
    await scribe.remove("ann")
    assert await _ids(ports, "ann") == []
    assert await _ids(ports, "eve") == []
    await scribe.add("ann")
    assert await _ids(ports, "ann") == ["ga"]


# --- mute -------------------------------------------------------------------------------------------------------------


async def test_a_mute_is_the_members_own(ports: Ports, ticker: Ticker) -> None:
    await Scribe(ports.log, ticker, "ga").create("ann", "ben")
    await Scribe(ports.log, ticker, "gb").create("ann", "ben")
    for _ in range(2):
        await ports.directory.set_mute("ann", "ga", True)
        assert (await _view(ports, "ann")).muted
        assert not (await _view(ports, "ben")).muted
        assert not (await _view(ports, "ann", "gb")).muted
        assert set(await ports.directory.muted_by("ga", ["ann", "ben", "eve"])) == {"ann"}
        assert set(await ports.directory.muted_by("ga", ["ben"])) == set()
        assert set(await ports.directory.muted_by("gb", ["ann"])) == set()
    for _ in range(2):
        await ports.directory.set_mute("ann", "ga", False)
        assert not (await _view(ports, "ann")).muted
        assert set(await ports.directory.muted_by("ga", ["ann"])) == set()
