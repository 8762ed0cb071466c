"""What is left undone when channels change hands: nothing of it is forgotten, and no old copy is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from chat_server.channels.fanout import Item
from chat_server.channels.local import ChannelPorts, LocalChannels
from chat_server.channels.push_decider import DecisionPorts
from tests.support.clock import FakeClock
from tests.support.mesh import NobodyToWake
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.backends.sqlite.pending_push import SqlitePendingPush
from tidings.core.actions import CreateChannel, Send
from tidings.core.errors import Refusal, unavailable
from tidings.core.positions import Positions
from tidings.core.reasons import Reason
from tidings.core.values import AppendOutcome, ChannelKind, LogBatch


class Handed:
    """A fan-out that notes what it is given: by channel and seq, for whom."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, frozenset[str]]] = []
        self.grown = asyncio.Event()

    def deliver(self, channel_id: str, audience: Collection[str], items: Sequence[Item]) -> None:
        self.entries += [(item.seq, frozenset(audience)) for item in items]
        self.grown.set()

    def send(self, users: Collection[str], frame: bytes) -> None:
        pass

    async def until(self, seq: int) -> None:
        async with asyncio.timeout(10):
            while seq not in [each for each, _ in self.entries]:
                self.grown.clear()
                await self.grown.wait()


class LosesAnswers(SqliteChannelLog):
    """A log whose answers can be lost after it has written."""

    lose_next = False

    async def append(self, batch: LogBatch) -> AppendOutcome:
        outcome = await super().append(batch)
        if self.lose_next:
            self.lose_next = False
            raise unavailable("the answer was lost", Reason.STORAGE_UNAVAILABLE)
        return outcome


class AwayAtFirst(SqlitePendingPush):
    """Marks that cannot be read the first time."""

    away = False

    async def channels(self) -> Mapping[str, int]:
        if self.away:
            self.away = False
            raise unavailable("the storage is away", Reason.STORAGE_UNAVAILABLE)
        return await super().channels()


class Server:
    """One server's channels."""

    def __init__(self, database: Database, number: int) -> None:
        self.clock = FakeClock()
        self.log, self.pending, self.handed = LosesAnswers(database), AwayAtFirst(database), Handed()
        decision = DecisionPorts(
            self.pending,
            SqliteMemberships(database),
            SqliteContactStore(database),
            NobodyToWake(),
        )
        self.owns = True
        self.channels = LocalChannels(
            ChannelPorts(self.log, SqliteHistory(database), decision),
            self.handed,
            Positions(self.clock, number),
            self.clock,
            5.0,
            is_mine=lambda _: self.owns,
        )
        self._work = asyncio.create_task(self.channels.run())

    async def say(self, name: str) -> int:
        return (await self.channels.sequencer.submit("g", "ann", Send(name, "hello"))).seq

    async def stop(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    database = Database(tmp_path)
    first, second = Server(database, 1), Server(database, 2)
    await first.channels.sequencer.submit("g", "ann", CreateChannel(ChannelKind.GROUP, "a group", ("bob",)))
    yield first, second
    await first.stop()
    await second.stop()
    await database.close()


async def test_what_the_last_sequencer_may_have_left_is_handed_out(servers: tuple[Server, Server]) -> None:
    dead, heir = servers
    last = await dead.say("before it died")
    await heir.channels.change_hands()
    await heir.handed.until(last)
    assert heir.handed.entries == [(seq, frozenset({"ann", "bob"})) for seq in range(1, last + 1)]


async def test_also_when_the_heir_is_written_to_before_it_takes_up(servers: tuple[Server, Server]) -> None:
    dead, heir = servers
    last = await dead.say("before it died")
    await heir.say("after")
    await heir.channels.change_hands()
    await heir.handed.until(last)


async def test_what_cannot_be_taken_up_at_once_is_taken_up_later(servers: tuple[Server, Server]) -> None:
    dead, heir = servers
    last = await dead.say("before it died")
    heir.pending.away = True
    with pytest.raises(Refusal):
        await heir.channels.change_hands()
    await heir.channels.change_hands()
    await heir.handed.until(last)


async def test_a_channel_that_comes_back_is_read_anew(servers: tuple[Server, Server]) -> None:
    first, second = servers
    seq = await first.say("mine")
    # In use at the very moment when it changes hands.
    under_way = asyncio.create_task(first.say("on its way"))
    await asyncio.sleep(0)
    first.owns = False
    await first.channels.change_hands(lambda _: False)
    assert await under_way == seq + 1
    assert first.channels.sequencer.loaded("g") is None
    assert await second.say("theirs") == seq + 2
    first.owns = True
    await first.channels.change_hands(lambda _: False)
    assert await first.say("mine again") == seq + 3


async def test_a_batch_whose_answer_was_lost_is_handed_out_once_it_is_found(servers: tuple[Server, Server]) -> None:
    first, _ = servers
    seq = await first.say("an answer comes")
    first.log.lose_next = True
    with pytest.raises(Refusal):
        await first.say("no answer comes")
    assert await first.say("another") == seq + 2
    await first.handed.until(seq + 1)
    assert first.channels.sequencer.loaded("g") is not None
