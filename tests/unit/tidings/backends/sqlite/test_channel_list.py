"""The list of somebody's channels, whose index is written at most once a second and is exact all the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.scribe import Scribe, Ticker
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.core import positions

CHANNELS = 6


class QuickTicker(Ticker):
    """Positions some milliseconds after one another."""

    def __init__(self) -> None:
        super().__init__()
        self.step_ms = 1

    def next(self) -> int:
        self.latest += positions.span(self.step_ms)
        return self.latest


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, CHANNELS - 1), st.integers(1, 700), st.booleans()), max_size=30),
    st.integers(1, 4),
    st.integers(0, 12_000),
)
def test_the_list_is_by_the_ends_of_the_logs(sent: list[tuple[int, int, bool]], size: int, after_ms: int) -> None:
    async def run(folder: Path) -> None:
        database = Database(folder)
        memberships = SqliteMemberships(database)
        ticker = QuickTicker()
        scribes = [Scribe(SqliteChannelLog(database), ticker, f"g{number}") for number in range(CHANNELS)]
        for scribe in scribes:
            await scribe.create("ann", "ben")
        for number, step_ms, comes_or_goes in sent:
            ticker.step_ms = step_ms
            scribe = scribes[number]
            if not comes_or_goes:
                await scribe.send("ann")
            elif "ben" in scribe.members:
                await scribe.remove("ben")
            else:
                await scribe.add("ben")
        for user_id in ("ann", "ben"):
            found: list[tuple[int, str]] = []
            after = None
            while page := await memberships.channels_of(user_id, after, size):
                found += [(each.snapshot.head_position, each.snapshot.record.channel_id) for each in page]
                after = found[-1]
            there = [each for each in scribes if user_id in each.members]
            assert found == sorted(((each.head.position, each.channel_id) for each in there), reverse=True)
        cursor = positions.span(after_ms)
        replay = await SqliteInbox(database).replay("ann", cursor, ticker.latest)
        events = [event async for chunk in replay.chunks() for event in chunk.events]
        entries = [each for scribe in scribes for each in scribe.entries if each.position > cursor]
        assert events == [each.body for each in sorted(entries, key=lambda entry: entry.position)]
        await database.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
