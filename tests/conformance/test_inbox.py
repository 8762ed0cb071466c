"""What a device that comes back has missed: all of it, in order of position, and nothing that is not its user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from tests.conformance.engines import Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core import positions
from tidings.core.ports import Replay, ReplayChunk
from tidings.core.values import ChannelKind, LogEntry, Marks

FOREVER = 2**63 - 1
CHUNK_BYTES = 1 << 20
"""What a session may have waiting; a chunk must stay well below it."""
CHUNK_EVENTS = 2_000


@pytest.fixture
def ticker(ports: Ports) -> Ticker:
    return Ticker(ports.clock)


async def _chunks(replay: Replay) -> list[ReplayChunk]:
    return [chunk async for chunk in replay.chunks()]


async def _events(ports: Ports, user_id: str, after: int = 0, upto: int = FOREVER) -> list[bytes]:
    chunks = await _chunks(await ports.inbox.replay(user_id, after, upto))
    return [event for chunk in chunks for event in chunk.events]


def _in_order(entries: Iterable[LogEntry]) -> list[bytes]:
    return [each.body for each in sorted(entries, key=lambda entry: entry.position)]


def _span(ms: int) -> int:
    """A time as a difference of positions."""
    return positions.at(positions.EPOCH_MS + ms)


def _due(ports: Ports, entries: Iterable[LogEntry], after: int = 0, upto: int = FOREVER) -> list[bytes]:
    """What of some entries a replay brings."""
    first, last = after - _span(ports.replay_before_ms), upto + _span(ports.replay_beyond_ms)
    return _in_order(each for each in entries if first < each.position <= last)


async def _two_channels(ports: Ports, ticker: Ticker) -> tuple[Scribe, Scribe]:
    """A group and a direct channel of ann and ben, whose events alternate."""
    group, direct = (
        Scribe(ports.log, ticker, "ga", inbox=ports.inbox),
        Scribe(ports.log, ticker, "dx", ChannelKind.DIRECT, inbox=ports.inbox),
    )
    await group.create("ann", "ben")
    await direct.create("ann", "ben")
    for _ in range(3):
        await direct.send("ann")
        await group.send("ben")
    return group, direct


async def test_everything_comes_in_order_of_position(ports: Ports, ticker: Ticker) -> None:
    group, direct = await _two_channels(ports, ticker)
    replay = await ports.inbox.replay("ann", 0, FOREVER)
    assert replay.first_position == group.entries[0].position
    chunks = await _chunks(replay)
    assert [event for chunk in chunks for event in chunk.events] == _in_order([*group.entries, *direct.entries])
    assert chunks[-1].position == group.head.position
    assert chunks[-1].heads == {
        "ga": (group.head.position, group.head.seq),
        "dx": (direct.head.position, direct.head.seq),
    }


async def test_only_what_is_beyond_the_cursor_comes(ports: Ports, ticker: Ticker) -> None:
    entries = sorted((entry for each in await _two_channels(ports, ticker) for entry in each.entries), key=_position)
    for entry in entries:
        # The second one is between two events.
        for after in (entry.position, entry.position - 1):
            assert await _events(ports, "ann", after=after) == _due(ports, entries, after=after)


async def test_nothing_beyond_the_end_comes(ports: Ports, ticker: Ticker) -> None:
    entries = sorted((entry for each in await _two_channels(ports, ticker) for entry in each.entries), key=_position)
    for entry in entries:
        for upto in (entry.position, entry.position - 1):
            assert await _events(ports, "ann", upto=upto) == _due(ports, entries, upto=upto)
    between = entries[2].position, entries[4].position
    assert await _events(ports, "ann", *between) == _due(ports, entries, *between)


async def test_who_has_seen_all_gets_nothing(ports: Ports, ticker: Ticker) -> None:
    group, _ = await _two_channels(ports, ticker)
    beyond = group.head.position + _span(ports.replay_before_ms)
    before = group.entries[0].position - _span(ports.replay_beyond_ms) - 1
    for after, upto in ((beyond, FOREVER), (FOREVER, FOREVER), (0, before)):
        replay = await ports.inbox.replay("ann", after, upto)
        assert replay.first_position == 0
        assert await _chunks(replay) == []
    assert (await ports.inbox.replay("eve", 0, FOREVER)).first_position == 0


async def test_the_first_position_is_that_of_the_oldest_unseen_event(ports: Ports, ticker: Ticker) -> None:
    group, direct = await _two_channels(ports, ticker)
    after = direct.entries[1].position + _span(ports.replay_before_ms)
    entries = sorted((*group.entries, *direct.entries), key=_position)
    oldest = next(each for each in entries if each.position > direct.entries[1].position)
    assert (await ports.inbox.replay("ann", after, FOREVER)).first_position == oldest.position


async def test_a_new_member_gets_the_channel_from_where_they_came_in(ports: Ports, ticker: Ticker) -> None:
    group, _ = await _two_channels(ports, ticker)
    await group.add("cas")
    await group.send("ann")
    assert await _events(ports, "cas") == _in_order(group.entries[-2:])


async def test_who_was_removed_gets_the_entry_that_says_so_and_nothing_after_it(ports: Ports, ticker: Ticker) -> None:
    group = Scribe(ports.log, ticker, "ga", inbox=ports.inbox)
    await group.create("ann", "ben")
    cursor = group.head.position
    missed = [await group.send("ann"), await group.remove("ben")]
    await group.send("ann")
    assert await _events(ports, "ben", after=cursor) == _due(ports, [*group.entries[:1], *missed], after=cursor)


async def test_each_stay_comes_and_nothing_between_them(ports: Ports, ticker: Ticker) -> None:
    group = Scribe(ports.log, ticker, "ga", inbox=ports.inbox)
    await group.create("ann", "ben")
    seen: list[LogEntry] = [group.head]
    for _ in range(3):
        seen.append(await group.send("ann"))
        seen.append(await group.remove("ben"))
        await group.send("ann")
        await group.send("ann")
        seen.append(await group.add("ben"))
    assert await _events(ports, "ben") == _in_order(seen)
    for entry in seen:
        assert await _events(ports, "ben", after=entry.position) == _due(ports, seen, after=entry.position)
    (chunk,) = await _chunks(await ports.inbox.replay("ben", 0, FOREVER))
    assert chunk.heads == {"ga": (group.head.position, group.head.seq)}


async def test_what_is_written_during_a_replay_is_left_to_the_live_stream(ports: Ports, ticker: Ticker) -> None:
    group, direct = await _two_channels(ports, ticker)
    before = [*group.entries, *direct.entries]
    replay = await ports.inbox.replay("ann", 0, ticker.latest)
    await group.send("ann")
    await direct.send("ann")
    chunks = await _chunks(replay)
    assert [event for chunk in chunks for event in chunk.events] == _in_order(before)


async def test_changes_come_as_events_and_deleted_texts_do_not(ports: Ports, ticker: Ticker) -> None:
    group = Scribe(ports.log, ticker, "ga", inbox=ports.inbox)
    await group.create("ann", "ben")
    message = await group.send("ann", b"secret")
    await group.edit(message, b"secret too")
    await group.delete(message)
    events = await _events(ports, "ben")
    assert events == [each.body for each in group.entries]
    assert events[1:3] == [b"redacted", b"redacted"]


def _position(entry: LogEntry) -> int:
    return entry.position


def _check_chunks(chunks: Sequence[ReplayChunk], scribes: Sequence[Scribe], largest: int) -> None:
    """Chunks are bounded, and each says how far it goes."""
    written = sorted(
        ((entry.position, entry.seq, scribe.channel_id, entry.body) for scribe in scribes for entry in scribe.entries),
    )
    assert [event for chunk in chunks for event in chunk.events] == [body for *_, body in written]
    at = 0
    for chunk in chunks:
        assert 0 < len(chunk.events) <= CHUNK_EVENTS
        assert sum(map(len, chunk.events)) <= CHUNK_BYTES // 2 + largest
        part = written[at : at + len(chunk.events)]
        at += len(chunk.events)
        assert chunk.position == part[-1][0]
        assert chunk.heads == {channel_id: (position, seq) for position, seq, channel_id, _ in part}


async def test_many_events_come_in_chunks_that_each_say_how_far_they_go(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{number}", inbox=ports.inbox) for number in range(3)]
    for scribe in scribes:
        await scribe.create("ann")
    for number in range(1_500):
        scribe = scribes[number % 7 % 3]
        # Most in the first channel; the last has long been read when that still goes on.
        await (scribe if number < 300 else scribes[0]).send("ann")
    chunks = await _chunks(await ports.inbox.replay("ann", 0, FOREVER))
    assert len(chunks) > 1
    _check_chunks(chunks, scribes, largest=100)


async def test_large_events_come_in_chunks_of_bounded_bytes(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{number}", inbox=ports.inbox) for number in range(2)]
    for scribe in scribes:
        await scribe.create("ann")
    for number in range(12):
        await scribes[number % 2].send("ann", bytes([number]) * 100_000)
    chunks = await _chunks(await ports.inbox.replay("ann", 0, FOREVER))
    assert len(chunks) > 2
    _check_chunks(chunks, scribes, largest=100_000)


# --- receipts ---------------------------------------------------------------------------------------------------------


async def test_receipts_come_for_channels_where_any_changed_since(ports: Ports, ticker: Ticker) -> None:
    await _two_channels(ports, ticker)
    await ports.log.save_marks("ga", first := ticker.next(), {"ann": Marks(3, 2), "ben": Marks(1, 0)})
    await ports.log.save_marks("dx", second := ticker.next(), {"ben": Marks(2, 2)})
    assert await ports.inbox.receipts_since("ann", first - 1) == {
        "ga": {"ann": Marks(3, 2), "ben": Marks(1, 0)},
        "dx": {"ben": Marks(2, 2)},
    }
    assert await ports.inbox.receipts_since("ann", first) == {"dx": {"ben": Marks(2, 2)}}
    assert await ports.inbox.receipts_since("ann", second) == {}
    assert await ports.inbox.receipts_since("eve", 0) == {}


async def test_receipts_come_only_for_channels_that_one_is_in(ports: Ports, ticker: Ticker) -> None:
    group = Scribe(ports.log, ticker, "ga", inbox=ports.inbox)
    await group.create("ann", "ben")
    await group.remove("ben")
    await ports.log.save_marks("ga", ticker.next(), {"ann": Marks(2, 2)})
    assert await ports.inbox.receipts_since("ben", 0) == {}
    await group.add("ben")
    assert await ports.inbox.receipts_since("ben", 0) == {"ga": {"ann": Marks(2, 2)}}
