"""What is asked of an engine costs the same after ten thousand of everything as before, within a factor of two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest

from tests.conformance.costs import Cost
from tests.conformance.engines import Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core import positions
from tidings.core.ports import InboxCopy, PageRequest
from tidings.core.values import Appended, Device, EntryKind, LogBatch, LogEntry, Marks, Platform, SeqRange, User

MANY = 10_000
ALL = (SeqRange(1),)


class Past:
    """Writes a long past to a channel, in large batches."""

    def __init__(self, ports: Ports, scribe: Scribe) -> None:
        self.log = ports.log
        self.inbox = ports.inbox
        self.channel_id = scribe.channel_id
        self.head = scribe.head.seq
        self.position = scribe.head.position
        self.latest_edits: dict[int, int] = {}

    def entry(self, kind: EntryKind, author_id: str, target_seq: int = 0, body: bytes = b"text") -> LogEntry:
        self.head += 1
        self.position += positions.span(1)
        return LogEntry(self.head, self.position, kind, author_id, body, "", target_seq)

    async def write(
        self,
        entries: Iterable[LogEntry],
        gone: Callable[[LogEntry], Iterable[int]] = lambda _: (),
    ) -> None:
        """Writes entries; `gone` tells which others lose their text by one."""
        rest = list(entries)
        while rest:
            room = self.log.batch_capacity(rest[0].seq - 1)
            batch, rest = rest[:room], rest[room:]
            redactions = tuple((seq, b"") for each in batch for seq in gone(each))
            kept: dict[int, tuple[int, ...]] = {each.seq: () for each in batch if each.target_seq}
            outcome = await self.log.append(LogBatch(self.channel_id, tuple(batch), redactions=redactions, kept=kept))
            assert outcome == Appended()
            # One by one, as they are when they do not come at the same moment.
            await self.inbox.put([InboxCopy(["ann"], self.channel_id, (each,)) for each in batch])

    async def send(self, number: int, author_id: str = "ben") -> Sequence[int]:
        """Sends messages, and returns their seqs."""
        entries = [self.entry(EntryKind.MESSAGE, author_id) for _ in range(number)]
        await self.write(entries)
        return [each.seq for each in entries]

    async def edit(self, seqs: Iterable[int], author_id: str = "ben") -> None:
        """Edits messages; a later edit of the same one takes the text of the one before it."""
        superseded: dict[int, int] = {}
        entries = []
        for seq in seqs:
            entry = self.entry(EntryKind.EDIT, author_id, seq)
            if seq in self.latest_edits:
                superseded[entry.seq] = self.latest_edits[seq]
            self.latest_edits[seq] = entry.seq
            entries.append(entry)
        await self.write(entries, lambda each: [superseded[each.seq]] if each.seq in superseded else [])

    async def delete(self, seqs: Iterable[int], author_id: str = "ben") -> None:
        entries = [self.entry(EntryKind.DELETION, author_id, seq) for seq in seqs]
        await self.write(entries, lambda each: [each.target_seq])


async def cost(ports: Ports, ask: Callable[[], Awaitable[object]]) -> Cost:
    """What something costs when it is not asked for the first time."""
    await ask()
    with ports.meter.on() as counted:
        await ask()
    return counted


def assert_alike(before: Cost, after: Cost) -> None:
    assert before, "nothing was counted"
    for what, number in after.items():
        assert number <= 2 * before[what], f"{what}: {before[what]} before, {number} after"


async def replayed(ports: Ports, user_id: str = "ann") -> list[bytes]:
    replay = await ports.inbox.replay(user_id, 0, (1 << 63) - 1)
    return [event async for chunk in replay.chunks() for event in chunk.events]


async def group(ports: Ports) -> Past:
    scribe = Scribe(ports.log, Ticker(ports.clock), "ga")
    await scribe.create("ann", "ben")
    return Past(ports, scribe)


async def test_a_page_of_history_after_many_edits(ports: Ports) -> None:
    past = await group(ports)
    seqs = await past.send(50)
    await past.edit(seqs)
    latest, first = PageRequest(), PageRequest(after_seq=0)

    async def ask() -> None:
        for page in (latest, first):
            assert [row.message.seq for row in await ports.history.messages("ga", ALL, page)] == list(seqs)

    before = await cost(ports, ask)
    await past.edit([seqs[0]] * (MANY // 2) + list(seqs) * (MANY // 2 // len(seqs)))
    assert_alike(before, await cost(ports, ask))


async def test_a_page_of_history_for_one_who_left_after_many_edits(ports: Ports) -> None:
    past = await group(ports)
    seqs = await past.send(10)
    await past.edit(seqs)
    seen = [SeqRange(1, past.head)]

    async def ask() -> None:
        rows = await ports.history.messages("ga", seen, PageRequest())
        assert [row.latest_change and row.latest_change.seq for row in rows] == list(range(12, 22))

    await past.edit(list(seqs))
    before = await cost(ports, ask)
    await past.edit(list(seqs) * (MANY // len(seqs)))
    assert_alike(before, await cost(ports, ask))


async def test_what_an_edit_or_a_deletion_reads_and_writes_after_many_edits_of_the_message(ports: Ports) -> None:
    past = await group(ports)
    (seq,) = await past.send(1)
    await past.edit([seq, seq])

    async def ask() -> None:
        (found,) = (await ports.log.message_with_changes("ga", {seq})).values()
        assert [each.seq for each in found] == [seq, past.head]
        await past.edit([seq])

    before = await cost(ports, ask)
    await past.edit([seq] * MANY)
    assert_alike(before, await cost(ports, ask))


async def test_an_unread_count_after_many_edits(ports: Ports) -> None:
    past = await group(ports)
    await ports.log.save_marks("ga", past.position, {"ann": Marks(1, 1)})
    seqs = await past.send(5)

    async def ask() -> None:
        view = await ports.directory.channel_of("ann", "ga")
        assert view is not None and view.unread_count == 5

    before = await cost(ports, ask)
    await past.edit(list(seqs) * (MANY // len(seqs)))
    assert_alike(before, await cost(ports, ask))


async def test_an_unread_count_after_many_deletions(ports: Ports) -> None:
    past = await group(ports)
    await ports.log.save_marks("ga", past.position, {"ann": Marks(1, 1)})
    await past.send(5)

    async def ask() -> None:
        view = await ports.directory.channel_of("ann", "ga")
        assert view is not None and view.unread_count == 5

    before = await cost(ports, ask)
    await past.delete(await past.send(MANY))
    assert_alike(before, await cost(ports, ask))


async def test_a_replay_has_the_last_text_of_a_message_and_reads_no_more_than_that(ports: Ports) -> None:
    past = await group(ports)
    (seq,) = await past.send(1)
    await past.edit([seq] * 100)
    text = b"text"
    assert (await replayed(ports)).count(text) == 2
    before = await cost(ports, lambda: replayed(ports))
    await past.edit([seq] * 1_400)
    assert (await replayed(ports)).count(text) == 2
    # Each edit is still an entry, so that the log has no gap: fifteen times as many.
    after = await cost(ports, lambda: replayed(ports))
    assert_alike({what: 15 * number for what, number in before.items()}, after)


async def test_a_first_connect_costs_what_it_brings_however_many_channels_that_is_from(ports: Ports) -> None:
    ticker = Ticker(ports.clock)

    async def channels(first: int, last: int) -> None:
        scribes = [Scribe(ports.log, ticker, f"g{number}", inbox=ports.inbox) for number in range(first, last)]
        for at in range(0, len(scribes), 200):
            await asyncio.gather(*(each.create("ann") for each in scribes[at : at + 200]))

    await channels(0, 100)
    before = await cost(ports, lambda: replayed(ports))
    await channels(100, 2_000)
    assert len(await replayed(ports)) == 2_000
    after = await cost(ports, lambda: replayed(ports))
    assert_alike({what: 20 * number for what, number in before.items()}, after)


async def people(ports: Ports, first: int, last: int) -> None:
    """Makes users whose display names begin alike."""

    async def make(number: int) -> None:
        user = User(f"u{number}", f"user{number:05}", f"Zoë {number}", "", 1)
        device = Device(f"v{number}", user.user_id, "", Platform.WEB, 1, 1)
        await ports.accounts.create_user(user, "hash", device, str(number).encode())

    for at in range(first, last, 50):
        await asyncio.gather(*map(make, range(at, min(at + 50, last))))


@pytest.mark.parametrize("typed", ["zoe", "user"])
async def test_a_search_after_many_people_of_that_name(ports: Ports, typed: str) -> None:
    async def ask() -> None:
        found = await ports.accounts.search(typed, "user00005", 10, "u1")
        assert [each.user_id for each in found] == [f"u{number}" for number in range(6, 16)]

    await people(ports, 0, 30)
    before = await cost(ports, ask)
    await people(ports, 30, 600)
    assert_alike(before, await cost(ports, ask))


async def test_adding_a_contact_or_blocking_somebody_after_many(ports: Ports) -> None:
    store = ports.contacts

    async def relate(first: int, last: int) -> None:
        for number in range(first, last):
            await store.add("u1", f"w{number}", 1)
            await store.block("u1", f"w{number}", 1)

    async def ask() -> None:
        assert await store.contact_count("u1", "nobody") == await store.blocked_count("u1", "nobody") == related
        await store.add("u1", "v", 1)
        await store.block("u1", "v", 1)
        await store.remove("u1", "v")
        await store.unblock("u1", "v")

    related = 10
    await relate(0, related)
    before = await cost(ports, ask)
    await relate(related, 500)
    related = 500
    assert_alike(before, await cost(ports, ask))


async def test_counting_the_channels_and_the_groups_of_somebody_after_many(ports: Ports) -> None:
    ticker = Ticker(ports.clock)

    async def channels(first: int, last: int) -> None:
        await asyncio.gather(
            *(Scribe(ports.log, ticker, f"g{number}").create("ann", "ben") for number in range(first, last))
        )

    async def ask() -> None:
        assert await ports.directory.channel_counts(["ann", "ben"]) == {"ann": made, "ben": made}
        assert await ports.directory.owned_count("ann") == made

    made = 10
    await channels(0, made)
    before = await cost(ports, ask)
    await channels(made, 500)
    made = 500
    assert_alike(before, await cost(ports, ask))


async def test_a_page_of_the_channels_and_a_reconnection_after_many_channels(ports: Ports) -> None:
    ticker = Ticker(ports.clock)
    scribes: list[Scribe] = []

    async def channels(number: int) -> None:
        new = [Scribe(ports.log, ticker, f"g{len(scribes) + each}", inbox=ports.inbox) for each in range(number)]
        for at in range(0, number, 50):
            await asyncio.gather(*(each.create("ann", "ben") for each in new[at : at + 50]))
        scribes.extend(sorted(new, key=lambda scribe: scribe.head.position))

    async def ask() -> None:
        latest = scribes[-1].head.position
        page = await ports.directory.channels_of("ann", None, 20)
        rest = await ports.directory.channels_of("ann", (page[-1].snapshot.head_position, "g"), 20)
        found = [each.snapshot.record.channel_id for each in (*page, *rest)]
        assert found == [each.channel_id for each in reversed(scribes[-40:])]
        replay = await ports.inbox.replay("ann", latest - 1, latest)
        events = [event async for chunk in replay.chunks() for event in chunk.events]
        assert events[-1:] == [scribes[-1].head.body]

    await channels(60)
    before = await cost(ports, ask)
    await channels(2_000)
    after = await cost(ports, ask)
    # Cassandra gives a row of a few bytes for each channel of the user, from one partition, for each page.
    assert_alike(before, {what: number - (2 * 2_000 if what == "rows" else 0) for what, number in after.items()})
