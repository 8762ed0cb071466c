"""Log, history, inbox and directory against a model of a few lines, on histories that nobody thought of."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.engines import OpenPorts, Ports
from tests.conformance.scribe import CREATED_AT_MS, Scribe, Ticker
from tidings.core import positions
from tidings.core.ports import PageRequest
from tidings.core.values import EntryKind, LogEntry, Marks, MessageRow, SeqRange

USERS = ("ann", "ben", "cas")
CHANNELS = ("ga", "gb")

Step = tuple[str, str, str, int]
"""What is done, where, by or to whom, and a number that picks a message or a size."""

steps = st.lists(
    st.tuples(
        st.sampled_from(("send", "send", "send", "edit", "delete", "come or go", "read")),
        st.sampled_from(CHANNELS),
        st.sampled_from(USERS),
        st.integers(0, 40),
    ),
    max_size=40,
)


class Model:
    """The channels as lists, and each user's stays in them."""

    def __init__(self, ports: Ports) -> None:
        self.ticker = Ticker(ports.clock)
        self.ports = ports
        self.scribes = {each: Scribe(ports.log, self.ticker, each, inbox=ports.inbox) for each in CHANNELS}
        self.stays: dict[tuple[str, str], list[SeqRange]] = {}
        self.marks: dict[str, dict[str, Marks]] = {each: {} for each in CHANNELS}

    async def begin(self) -> None:
        for channel_id, scribe in self.scribes.items():
            await scribe.create("ann", "ben")
            self.stays[channel_id, "ann"] = [SeqRange(1)]
            self.stays[channel_id, "ben"] = [SeqRange(1)]

    async def step(self, what: str, channel_id: str, user_id: str, number: int) -> None:
        scribe = self.scribes[channel_id]
        deleted = {each.target_seq for each in scribe.entries if each.kind is EntryKind.DELETION}
        messages = [each for each in scribe.entries if each.kind is EntryKind.MESSAGE and each.seq not in deleted]
        if what == "send":
            await scribe.send(user_id, bytes([number]) * number)
        elif what in ("edit", "delete") and messages:
            message = messages[number % len(messages)]
            await (scribe.edit(message, b"e" * number) if what == "edit" else scribe.delete(message))
        elif what == "come or go":
            stays = self.stays.setdefault((channel_id, user_id), [])
            if user_id in scribe.members:
                gone = await scribe.remove(user_id)
                stays[-1] = SeqRange(stays[-1].first, gone.seq)
            else:
                stays.append(SeqRange((await scribe.add(user_id)).seq))
        elif what == "read":
            read = number % len(scribe.entries)
            self.marks[channel_id][user_id] = Marks(read, read)
            await self.ports.log.save_marks(channel_id, self.ticker.next(), self.marks[channel_id])

    def seen(self, channel_id: str, user_id: str) -> list[LogEntry]:
        """The entries of a channel that a user sees."""
        stays = self.stays.get((channel_id, user_id), [])
        return [each for each in self.scribes[channel_id].entries if any(each.seq in stay for stay in stays)]

    def rows(self, channel_id: str, user_id: str) -> list[MessageRow]:
        """The messages of a channel that a user sees, each with the latest change that they see."""
        seen = self.seen(channel_id, user_id)
        latest = {each.target_seq: each for each in seen if each.target_seq}
        return [MessageRow(each, latest.get(each.seq)) for each in seen if each.kind is EntryKind.MESSAGE]

    def unread(self, channel_id: str, user_id: str) -> int:
        read = self.marks[channel_id].get(user_id, Marks()).read_seq
        since = self.stays[channel_id, user_id][-1].first
        entries = self.scribes[channel_id].entries
        deleted = {each.target_seq for each in entries if each.kind is EntryKind.DELETION}
        return sum(
            each.kind is EntryKind.MESSAGE
            and each.author_id != user_id
            and each.seq > read
            and each.seq >= since
            and each.seq not in deleted
            for each in entries
        )


def _page(
    sized: Iterable[tuple[int, int]], before_seq: int, after_seq: int | None, limit: int, most_bytes: int
) -> Sequence[int]:
    """Which of some (seq, bytes) a page holds."""
    found = [each for each in sized if each[0] > (after_seq or 0) and (not before_seq or each[0] < before_seq)]
    if after_seq is None:
        found.reverse()
    while len(found) > limit or (len(found) > 1 and sum(size for _, size in found) > most_bytes):
        found.pop()
    return sorted(seq for seq, _ in found)


def _row_bytes(row: MessageRow) -> int:
    return len(row.message.body) + (len(row.latest_change.body) if row.latest_change else 0)


async def _check_history(model: Model, data: st.DataObject) -> None:
    seqs = st.integers(0, 50)
    for channel_id in CHANNELS:
        for user_id in USERS:
            ranges = await model.ports.history.visible(channel_id, user_id)
            assert ranges == model.stays.get((channel_id, user_id), [])
            before_seq, after_seq = data.draw(st.one_of(st.tuples(seqs, st.none()), st.tuples(st.just(0), seqs)))
            asked = before_seq, after_seq, data.draw(st.integers(1, 10)), data.draw(st.integers(1, 200))
            entries = {each.seq: each for each in model.seen(channel_id, user_id)}
            page = _page(((seq, len(each.body)) for seq, each in entries.items()), *asked)
            found = await model.ports.history.entries(channel_id, ranges, PageRequest(*asked))
            assert found == [entries[seq] for seq in page]
            rows = {each.message.seq: each for each in model.rows(channel_id, user_id)}
            page = _page(((seq, _row_bytes(each)) for seq, each in rows.items()), *asked)
            assert await model.ports.history.messages(channel_id, ranges, PageRequest(*asked)) == [
                rows[seq] for seq in page
            ]


async def _check_inbox(model: Model, data: st.DataObject) -> None:
    for user_id in USERS:
        steps_taken = (positions.time_ms(model.ticker.latest) - CREATED_AT_MS) // 1000 // Ticker.STEP_SECONDS
        # From before the first position to beyond the last, on one or beside it.
        after, upto = (
            positions.at(CREATED_AT_MS + data.draw(st.integers(0, steps_taken + 2)) * Ticker.STEP_SECONDS * 1000)
            + data.draw(st.integers(-1, 1))
            for _ in range(2)
        )
        first = after - positions.at(positions.EPOCH_MS + model.ports.replay_before_ms)
        last = upto + positions.at(positions.EPOCH_MS + model.ports.replay_beyond_ms)
        due = sorted(
            (entry.position, channel_id, entry.seq, entry.body)
            for channel_id in CHANNELS
            for entry in model.seen(channel_id, user_id)
            if first < entry.position <= last
        )
        replay = await model.ports.inbox.replay(user_id, after, upto)
        assert replay.first_position == (due[0][0] if due else 0)
        chunks = [chunk async for chunk in replay.chunks()]
        assert [event for chunk in chunks for event in chunk.events] == [body for *_, body in due]
        heads: dict[str, tuple[int, int]] = {}
        for chunk in chunks:
            heads |= chunk.heads
        assert heads == {channel_id: (position, seq) for position, channel_id, seq, _ in due}


async def _check_directory(model: Model) -> None:
    for user_id in USERS:
        views = await model.ports.directory.channels_of(user_id, None, 10)
        present = [each for each in model.scribes.values() if user_id in each.members]
        present.sort(key=lambda scribe: scribe.head.position, reverse=True)
        assert [each.snapshot.record.channel_id for each in views] == [each.channel_id for each in present]
        for view, scribe in zip(views, present, strict=True):
            assert view.snapshot.head_seq == scribe.head.seq
            assert {each.user_id for each in view.snapshot.members} == set(scribe.members)
            assert view.snapshot.marks == model.marks[scribe.channel_id]
            assert view.unread_count == model.unread(scribe.channel_id, user_id)


@settings(max_examples=50)
@given(steps=steps, data=st.data())
def test_reading_agrees_with_the_model(engine: OpenPorts, steps: list[Step], data: st.DataObject) -> None:
    async def run(folder: Path) -> None:
        async with engine(folder) as ports:
            model = Model(ports)
            await model.begin()
            for step in steps:
                await model.step(*step)
            await _check_history(model, data)
            await _check_inbox(model, data)
            await _check_directory(model)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
