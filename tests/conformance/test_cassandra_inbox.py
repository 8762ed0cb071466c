"""What is special about inboxes that are written out: copies that come late, or twice, or outlive what they copy."""

from __future__ import annotations

import pytest

from tests.conformance.engines import Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core import positions
from tidings.core.ports import InboxCopy, ReplayChunk
from tidings.core.values import Appended, ChannelKind, EntryKind, LogBatch, LogEntry, MembershipChange, Role

pytestmark = pytest.mark.parametrize("engine", ["cassandra"], indirect=True, scope="session")

FOREVER = 2**63 - 1
MINUTE = 60
DAY = 24 * 3600


@pytest.fixture
def ticker(ports: Ports) -> Ticker:
    return Ticker(ports.clock)


@pytest.fixture
async def scribe(ports: Ports, ticker: Ticker) -> Scribe:
    """A group of ann and ben. What is written to it goes to no inbox by itself."""
    scribe = Scribe(ports.log, ticker, "ga")
    await scribe.create("ann", "ben")
    return scribe


async def _chunks(ports: Ports, user_id: str = "ann", after: int = 0, upto: int = FOREVER) -> list[ReplayChunk]:
    return [chunk async for chunk in (await ports.inbox.replay(user_id, after, upto)).chunks()]


async def _events(ports: Ports, user_id: str = "ann", after: int = 0, upto: int = FOREVER) -> list[bytes]:
    return [event for chunk in await _chunks(ports, user_id, after, upto) for event in chunk.events]


async def _put(ports: Ports, *entries: LogEntry, channel_id: str = "ga") -> None:
    await ports.inbox.put([InboxCopy(["ann", "ben"], channel_id, entries)])


def _bodies(*entries: LogEntry) -> list[bytes]:
    return [each.body for each in entries]


def _now(ports: Ports) -> int:
    return positions.at(ports.clock.now_ms())


async def test_a_copy_that_is_written_late_is_found_by_a_cursor_that_has_gone_on(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann")
    ports.clock.advance(10 * MINUTE)
    cursor = _now(ports)
    await _put(ports, message)
    (chunk,) = await _chunks(ports, after=cursor)
    assert chunk.events == [message.body]
    assert chunk.heads == {"ga": (message.position, message.seq)}
    assert chunk.position == message.position


async def test_a_copy_that_is_written_in_time_stands_where_its_event_stands(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann")
    ports.clock.advance(14)
    await _put(ports, message)
    assert await _events(ports, upto=message.position) == [message.body]
    ports.clock.advance(10 * MINUTE)
    assert await _events(ports, after=_now(ports)) == []


async def test_copies_that_come_twice_are_replayed_once_and_in_order(ports: Ports, scribe: Scribe) -> None:
    one, two, three, four, five = [await scribe.send("ann") for _ in range(5)]
    await _put(ports, two, three)
    await _put(ports, two, three)
    await _put(ports, five)
    # Whoever takes over begins with what is not known to have been copied.
    ports.clock.advance(10 * MINUTE)
    await _put(ports, one, two)
    await _put(ports, three, four, five)
    (chunk,) = await _chunks(ports)
    assert chunk.events == _bodies(one, two, three, four, five)
    assert chunk.heads == {"ga": (five.position, five.seq)}


async def test_what_a_server_with_a_clock_ahead_has_written_is_not_missed(ports: Ports, scribe: Scribe) -> None:
    message = await scribe.send("ann")
    await _put(ports, message)
    upto = message.position - (positions.at(positions.EPOCH_MS + 3_000))
    assert await _events(ports, upto=upto) == [message.body]


async def test_a_large_event_is_read_from_the_log(ports: Ports, scribe: Scribe) -> None:
    small, large = await scribe.send("ann", b"small"), await scribe.send("ann", b"x" * 300_000)
    await _put(ports, small, large)
    chunks = await _chunks(ports)
    assert [event for chunk in chunks for event in chunk.events] == _bodies(small, large)


async def test_copies_of_several_channels_for_one_user_come_in_order(ports: Ports, ticker: Ticker) -> None:
    scribes = [Scribe(ports.log, ticker, f"g{letter}") for letter in "abc"]
    for scribe in scribes:
        await scribe.create("ann", "ben")
    # One batch writes them all, for each of the two.
    await ports.inbox.put([InboxCopy(["ann", "ben"], each.channel_id, each.entries) for each in scribes])
    for user_id in ("ann", "ben"):
        assert await _events(ports, user_id) == _bodies(*(each.head for each in scribes))


async def test_nothing_to_put_is_no_error(ports: Ports) -> None:
    await ports.inbox.put([])
    assert await _events(ports) == []


async def test_a_copy_of_a_text_that_has_been_deleted_since_is_not_replayed(ports: Ports, scribe: Scribe) -> None:
    before = await scribe.send("ann", b"before")
    message = await scribe.send("ann", b"secret")
    edit = await scribe.edit(message, b"secret too")
    kept = await scribe.edit(before, b"kept")
    await _put(ports, before, message, edit, kept)
    # Who is gone when it is deleted gets no copy of the deletion.
    deletion = await scribe.delete(message)
    assert await _events(ports) == [b"before", b"redacted", b"redacted", b"kept"]
    await _put(ports, deletion)
    assert await _events(ports) == [b"before", b"redacted", b"redacted", b"kept", deletion.body]


async def test_a_copy_of_an_edit_is_replayed_as_the_log_has_it_once_there_is_a_newer_one(
    ports: Ports, scribe: Scribe
) -> None:
    message = await scribe.send("ann", b"first")
    edits = [await scribe.edit(message, text) for text in (b"second", b"third", b"fourth")]
    # The first has lost its text, the second has kept it for somebody who left.
    await ports.log.append(LogBatch("ga", (), redactions=((edits[0].seq, b"redacted"),)))
    for entries in ((message,), edits[:2], edits[2:]):
        await _put(ports, *entries)
    assert await _events(ports) == [b"first", b"redacted", b"third", b"fourth"]


async def test_a_day_is_read_a_part_at_a_time(ports: Ports) -> None:
    # More than one answer holds, several at the same position in different channels.
    entries = []
    for number in range(600):
        position = _now(ports) + number // 3
        entry = LogEntry(1, position, EntryKind.MESSAGE, "ann", b"%d" % number)
        entries.append(entry)
        await ports.inbox.put([InboxCopy(["ann"], f"g{number:03}", [entry])])
    assert await _events(ports) == _bodies(*entries)


async def test_days_follow_one_another(ports: Ports, scribe: Scribe) -> None:
    entries = []
    for _ in range(4):
        entries.append(await scribe.send("ann"))
        await _put(ports, entries[-1])
        ports.clock.advance(DAY)
    replay = await ports.inbox.replay("ann", 0, FOREVER)
    assert replay.first_position == entries[0].position
    assert await _events(ports) == _bodies(*entries)
    assert await _events(ports, after=entries[1].position + 1) == _bodies(*entries[1:])
    assert await _events(ports, after=entries[1].position + positions.at(positions.EPOCH_MS + 61_000)) == _bodies(
        *entries[2:]
    )


async def test_a_cursor_from_before_what_is_kept_begins_anew(ports: Ports, scribe: Scribe) -> None:
    cursor = (await scribe.send("ann")).position
    ports.clock.advance(40 * DAY)
    await _put(ports, await scribe.send("ann"))
    replay = await ports.inbox.replay("ann", cursor, FOREVER)
    # So old that the session answers with a SyncReset; and nothing that would have gaps.
    assert positions.time_ms(replay.first_position) < ports.clock.now_ms() - 30 * DAY * 1000
    assert [chunk async for chunk in replay.chunks()] == []


async def test_a_new_user_has_missed_nothing_that_expired(ports: Ports, ticker: Ticker) -> None:
    ports.clock.advance(40 * DAY)
    joined = MembershipChange("new", Role.MEMBER, 1, ports.clock.now_ms())
    group = Scribe(ports.log, ticker, "ga")
    await group.create("ann")
    entry = group.draft(EntryKind.MEMBERSHIP, "ann")
    assert await ports.log.append(LogBatch("ga", (entry,), members=(joined,))) == Appended()
    await ports.inbox.put([InboxCopy(["new"], "ga", [entry])])
    replay = await ports.inbox.replay("new", 0, FOREVER)
    assert replay.first_position == entry.position
    assert await _events(ports, "new") == [entry.body]


async def test_receipts_of_many_channels_are_found(ports: Ports, ticker: Ticker) -> None:
    ids = [f"d{number:03}" for number in range(120)]
    for channel_id in ids:
        await Scribe(ports.log, ticker, channel_id, ChannelKind.DIRECT).create("ann", "ben")
        await ports.log.save_marks(channel_id, ticker.next(), {})
    assert sorted(await ports.inbox.receipts_since("ann", 0)) == ids


async def test_receipts_of_a_sequencer_that_comes_late_change_nothing(
    ports: Ports, scribe: Scribe, ticker: Ticker
) -> None:
    early, late = ticker.next(), ticker.next()
    await ports.log.save_marks("ga", late, {})
    await ports.log.save_marks("ga", early, {})
    assert await ports.inbox.receipts_since("ann", early) == {"ga": {}}
