"""What a device that comes back is told, from a real inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from tests.support.clock import FakeClock
from tests.support.sessions import brief, session, told
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.core import actions, positions
from tidings.core.errors import Refusal
from tidings.core.positions import Positions
from tidings.core.values import ChannelKind
from tidings.v1 import chat_pb2

_DAYS = 30
_DAY = 24 * 3600


class World:
    """A channel of ann and bob."""

    def __init__(self, database: Database) -> None:
        self.clock = FakeClock()
        self.live = SessionRegistry()
        log = SqliteChannelLog(database)
        self.owner = Sequencer(log, self.live, Positions(self.clock), self.clock)
        self.replayer = CatchUp("server", log, SqliteInbox(database), self.clock, _DAYS)

    async def send(self, text: str) -> int:
        """Lets ann write to bob; gives the position."""
        return (await self.owner.submit("channel", "ann", actions.Send(text, text, 0))).position

    async def open(self, cursor: int) -> list[str]:
        """What bob's device is told when it comes back with a cursor."""
        bob = session("bob")
        frames: list[bytes] = []

        async def write(frame: bytes) -> None:
            frames.append(frame)

        bob.begin_replay()
        await self.replayer.run(bob, cursor, write)
        return [*map(brief, chat_pb2.ConverseResponse.FromString(b"".join(frames)).events), *told(bob)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(tmp_path)
    made = World(database)
    await made.owner.submit("channel", "ann", actions.CreateChannel(ChannelKind.DIRECT, "", ("bob",)))
    yield made
    await made.owner.close()
    await database.close()


async def test_all_that_was_missed_comes_between_welcome_and_the_end(world: World) -> None:
    first = await world.send("one")
    await world.send("two")
    assert await world.open(0) == ["welcome", "1", "2", "sync_complete"]
    assert await world.open(first) == ["welcome", "2", "sync_complete"]


async def test_what_was_missed_for_longer_than_the_inbox_keeps_is_a_reset(world: World) -> None:
    await world.send("old")
    world.clock.advance(_DAYS * _DAY)
    await world.send("new")
    assert await world.open(0) == ["welcome", "1", "2", "sync_complete"]
    world.clock.advance(1)
    assert await world.open(0) == ["welcome", "sync_reset", "sync_complete"]


async def test_an_old_cursor_that_has_missed_nothing_old_is_no_reset(world: World) -> None:
    old = await world.send("old")
    world.clock.advance(3 * _DAYS * _DAY)
    await world.send("new")
    assert await world.open(old) == ["welcome", "2", "sync_complete"]


async def test_a_cursor_from_what_was_lost_is_refused_once_there_is_something_later(world: World) -> None:
    kept = await world.send("kept")
    world.clock.advance(60.0)
    lost = positions.at(world.clock.now_ms())
    world.clock.advance(60.0)
    last = await world.send("after")
    assert kept < lost < last
    assert await world.open(lost) == ["welcome", "2", "sync_complete"]
    now = world.clock.now_ms()
    world.replayer = replace(world.replayer, restored=[(now - 90_000, now)])
    with pytest.raises(Refusal, match="a time whose data was lost") as refused:
        await world.open(lost)
    assert refused.value.reason == "CURSOR_FROM_THE_FUTURE"
    assert await world.open(kept) == ["welcome", "2", "sync_complete"]
    assert await world.open(last) == ["welcome", "sync_complete"]


async def test_a_cursor_from_the_future_is_refused_with_the_highest_there_is(world: World) -> None:
    last = await world.send("one")
    assert await world.open(last) == ["welcome", "sync_complete"]
    with pytest.raises(Refusal) as refused:
        await world.open(last + 1)
    assert refused.value.reason == "CURSOR_FROM_THE_FUTURE"
    assert refused.value.metadata == {"field": "hello.cursor", "limit": str(last), "actual": str(last + 1)}
