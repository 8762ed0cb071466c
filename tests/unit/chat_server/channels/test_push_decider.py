"""Who is woken, and when: the rules on the real storage, a clock that stands still, a sink that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from chat_server.channels.push_decider import DecisionPorts, PushDecider
from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from tests.support.clock import FakeClock
from tests.support.listening import Listening
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.backends.sqlite.pending_push import SqlitePendingPush
from tidings.core.actions import Action, AddMembers, CreateChannel, Delete, Edit, MarkRead, RemoveMember, Send
from tidings.core.errors import Refusal, unavailable
from tidings.core.ports import PushSink
from tidings.core.positions import Positions
from tidings.core.reasons import Reason
from tidings.core.values import AppendOutcome, ChannelKind, LogBatch, PushRead, PushRequest

DELAY = 5.0


class Sink(PushSink):
    def __init__(self) -> None:
        self.requests: list[PushRequest] = []
        self.reads: list[PushRead] = []
        self.failures: list[Exception] = []

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.requests += requests

    async def cancel(self, reads: Sequence[PushRead]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.reads += reads

    def take(self) -> list[tuple[str, str, int]]:
        """What has come since the last time: whom, for which channel, for which message."""
        taken, self.requests = self.requests, []
        return sorted((each.user_id, each.channel_id, each.seq) for each in taken)


class GatedLog(SqliteChannelLog):
    """A log whose next batch waits at a gate, when there is one."""

    gate: asyncio.Event | None = None

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reached = asyncio.Event()

    async def append(self, batch: LogBatch) -> AppendOutcome:
        if self.gate is not None:
            self.reached.set()
            await self.gate.wait()
        return await super().append(batch)


class Server:
    """What a chat server has in memory, and what it stands on."""

    def __init__(self, database: Database, clock: FakeClock, sink: Sink) -> None:
        self.clock = clock
        self.sink = sink
        self.log = GatedLog(database)
        self.memberships = SqliteMemberships(database)
        self.contacts = SqliteContactStore(database)
        self.pending = SqlitePendingPush(database)
        ports = DecisionPorts(self.pending, self.memberships, self.contacts, sink)
        events = Listening(
            marked=lambda channel, user_ids: self.pushes.read(channel, user_ids),
            written=lambda channel, draft: self.pushes.written(channel, draft),
            is_awake=lambda channel_id: self.pushes.is_awake(channel_id),
            is_unsaved=lambda channel_id: False,
        )
        self.sequencer = Sequencer(self.log, SessionRegistry(), Positions(clock), clock, events)
        self.pushes = PushDecider(SqliteHistory(database), ports, clock, DELAY, self.sequencer.channel)
        self._sent = 0

    async def group(self, *members: str, channel: str = "g1") -> None:
        await self.do(members[0], CreateChannel(ChannelKind.GROUP, "a title", members[1:]), channel)

    async def do(self, user: str, action: Action, channel: str = "g1") -> int:
        return (await self.sequencer.submit(channel, user, action)).seq

    async def say(self, user: str, text: str = "hello", channel: str = "g1") -> int:
        self._sent += 1
        return await self.do(user, Send(f"{self.clock.now_ms()}-{self._sent}", text), channel)

    async def acknowledge(self, user: str, seq: int, channel: str = "g1") -> None:
        state = await self.sequencer.channel(channel)
        assert state is not None
        assert state.delivered(user, seq)

    async def after(self, seconds: float) -> list[tuple[str, str, int]]:
        self.clock.advance(seconds)
        await self.pushes.decide()
        return self.sink.take()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path)
    yield database
    await database.close()


@pytest.fixture
async def server(database: Database) -> Server:
    server = Server(database, FakeClock(), Sink())
    await server.pushes.take_up(lambda _: True)
    return server


async def restarted(server: Server, database: Database) -> Server:
    """Another process on the same storage; the first one's memory is lost."""
    after = Server(database, server.clock, server.sink)
    await after.pushes.take_up(lambda _: True)
    return after


# --- the delay --------------------------------------------------------------------------------------------------------


async def test_everyone_but_the_author_is_woken_after_the_delay_and_not_before(server: Server) -> None:
    await server.group("ann", "ben", "cid")
    seq = await server.say("ann")
    assert await server.after(4.999) == []
    assert await server.after(0.001) == [("ben", "g1", seq), ("cid", "g1", seq)]


async def test_one_message_wakes_once_and_the_channel_sleeps(server: Server) -> None:
    await server.group("ann", "ben")
    await server.say("ann")
    assert len(await server.after(5)) == 1
    assert not server.pushes.is_awake("g1")
    assert await server.pending.channels() == {}
    assert await server.after(60) == []


async def test_each_message_has_its_own_delay(server: Server) -> None:
    await server.group("ann", "ben")
    first = await server.say("ann")
    assert await server.after(3) == []
    second = await server.say("ann")
    assert await server.after(2) == [("ben", "g1", first)]
    assert await server.after(2.9) == []
    assert await server.after(0.1) == [("ben", "g1", second)]
    assert not server.pushes.is_awake("g1")


async def test_making_a_group_and_changing_who_is_in_it_wakes_nobody(server: Server) -> None:
    await server.group("ann", "ben")
    await server.do("ann", AddMembers(("cid",)))
    assert await server.after(60) == []
    assert not server.pushes.is_awake("g1")


async def test_the_push_says_who_wrote_what_when(server: Server) -> None:
    await server.group("ann", "ben")
    wrote_at = server.clock.now_ms()
    seq = await server.say("ann", "é" * 300)
    server.clock.advance(5)
    await server.pushes.decide()
    assert server.sink.requests == [PushRequest("ben", "g1", seq, "ann", "é" * 256, wrote_at)]


# --- who is not woken -------------------------------------------------------------------------------------------------


async def test_who_has_acknowledged_is_not_woken(server: Server) -> None:
    await server.group("ann", "ben", "cid")
    seq = await server.say("ann")
    await server.acknowledge("ben", seq)
    assert await server.after(5) == [("cid", "g1", seq)]


async def test_who_has_acknowledged_an_earlier_message_is_woken_for_the_later(server: Server) -> None:
    await server.group("ann", "ben")
    first = await server.say("ann")
    second = await server.say("ann")
    await server.acknowledge("ben", first)
    assert await server.after(5) == [("ben", "g1", second)]


async def test_who_has_read_is_not_woken(server: Server) -> None:
    await server.group("ann", "ben", "cid")
    seq = await server.say("ann")
    await server.do("ben", MarkRead(seq))
    assert await server.after(5) == [("cid", "g1", seq)]


async def test_nobody_is_woken_when_all_have_acknowledged(server: Server) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    await server.acknowledge("ann", seq)
    await server.acknowledge("ben", seq)
    assert await server.after(5) == []
    assert await server.pending.channels() == {}


async def test_who_has_muted_the_channel_is_not_woken(server: Server) -> None:
    await server.group("ann", "ben", "cid")
    await server.memberships.set_mute("ben", "g1", True)
    seq = await server.say("ann")
    assert await server.after(5) == [("cid", "g1", seq)]


@pytest.mark.parametrize("pair", [("ann", "ben"), ("ben", "ann")])
async def test_people_who_blocked_each_other_do_not_wake_each_other(server: Server, pair: tuple[str, str]) -> None:
    await server.group("ann", "ben", "cid")
    await server.contacts.block(*pair, server.clock.now_ms())
    seq = await server.say("ann")
    assert await server.after(5) == [("cid", "g1", seq)]


async def test_behind_the_message_of_somebody_blocked_an_earlier_one_still_wakes(server: Server) -> None:
    await server.group("ann", "ben", "cid")
    await server.contacts.block("cid", "ben", server.clock.now_ms())
    of_ann = await server.say("ann")
    of_ben = await server.say("ben")
    assert await server.after(5) == [("ann", "g1", of_ben), ("ben", "g1", of_ann), ("cid", "g1", of_ann)]


async def test_a_message_deleted_meanwhile_wakes_nobody(server: Server) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    assert await server.after(4) == []
    await server.do("ann", Delete(seq))
    assert await server.after(1) == []
    assert await server.after(60) == []
    assert not server.pushes.is_awake("g1")


async def test_before_a_deleted_message_an_earlier_one_still_wakes(server: Server) -> None:
    await server.group("ann", "ben")
    first = await server.say("ann")
    await server.do("ann", Delete(await server.say("ann")))
    assert await server.after(5) == [("ben", "g1", first)]


async def test_a_message_edited_meanwhile_wakes_with_its_new_text(server: Server) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann", "teh")
    server.clock.advance(4)
    await server.do("ann", Edit(seq, "the"))
    server.clock.advance(1)
    await server.pushes.decide()
    assert [(each.seq, each.preview) for each in server.sink.requests] == [(seq, "the")]


async def test_who_was_removed_is_not_woken_and_who_came_later_only_for_what_they_see(server: Server) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    await server.do("ann", RemoveMember("ben"))
    await server.do("ann", AddMembers(("cid",)))
    assert await server.after(5) == []
    seq = await server.say("ann")
    assert await server.after(5) == [("cid", "g1", seq)]


# --- many messages ----------------------------------------------------------------------------------------------------


async def test_many_messages_of_a_channel_are_one_push_for_the_latest(server: Server) -> None:
    await server.group("ann", "ben")
    await server.group("ann", "ben", channel="g2")
    *_, last = await asyncio.gather(*(server.say("ann") for _ in range(300)))
    other = await server.say("ann", channel="g2")
    assert await server.after(5) == [("ben", "g1", last), ("ben", "g2", other)]


async def test_who_writes_the_latest_themselves_is_woken_for_the_latest_of_the_others(server: Server) -> None:
    await server.group("ann", "ben")
    of_ann = await server.say("ann")
    of_ben = await server.say("ben")
    assert await server.after(5) == [("ann", "g1", of_ben), ("ben", "g1", of_ann)]


async def test_a_channel_that_is_never_quiet_still_wakes_in_time_and_not_for_every_message(server: Server) -> None:
    await server.group("ann", "ben")
    written: dict[int, float] = {}
    woken: list[tuple[int, float]] = []
    # 20 s of 50 messages a second: more than a decision looks at come within one delay.
    for tick in range(80):
        for seq in await asyncio.gather(*(server.say("ann") for _ in range(12))):
            written[seq] = server.clock.monotonic()
        woken += [(seq, server.clock.monotonic()) for _, _, seq in await server.after(0.25)]
        assert tick * 0.25 < 7 or woken
    ages = [at - written[seq] for seq, at in woken]
    assert min(ages) >= DELAY
    assert max(ages) <= DELAY * 1.2 + 0.25
    assert 10 <= len(woken) <= 20
    while server.pushes.is_awake("g1"):
        woken += [(seq, server.clock.monotonic()) for _, _, seq in await server.after(0.25)]
    assert woken[-1][0] == max(written)


async def test_a_busy_channel_stops_waking_once_it_has_been_acknowledged(server: Server) -> None:
    await server.group("ann", "ben")
    for _ in range(60):
        seq = await server.say("ann")
        await server.acknowledge("ben", seq)
        assert await server.after(0.25) == []


# --- crashes and failures ---------------------------------------------------------------------------------------------


async def test_what_was_undecided_survives_a_restart(server: Server, database: Database) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    server.clock.advance(3600)
    again = await restarted(server, database)
    assert await again.after(4.9) == [], "devices are given the time to come back"
    assert await again.after(0.1) == [("ben", "g1", seq)]
    assert await again.pending.channels() == {}


async def test_what_was_decided_is_not_decided_again_after_a_restart(server: Server, database: Database) -> None:
    await server.group("ann", "ben")
    await server.say("ann")
    assert len(await server.after(5)) == 1
    again = await restarted(server, database)
    assert await again.after(60) == []
    await again.say("ann")
    assert await again.after(3) == []
    later = await again.say("ann")
    assert len(await again.after(2)) == 1
    once_more = await restarted(again, database)
    assert await once_more.after(5) == [("ben", "g1", later)]


async def test_who_acknowledges_after_the_restart_is_not_woken(server: Server, database: Database) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    again = await restarted(server, database)
    await again.acknowledge("ben", seq)
    assert await again.after(5) == []


async def test_writing_before_what_was_undecided_is_loaded_forgets_nothing(server: Server, database: Database) -> None:
    await server.group("ann", "ben", "cid")
    of_ann = await server.say("ann")
    again = Server(database, server.clock, server.sink)
    of_ben = await again.say("ben")
    await again.pushes.take_up(lambda _: True)
    assert await again.after(5) == [("ann", "g1", of_ben), ("ben", "g1", of_ann), ("cid", "g1", of_ben)]


async def test_a_message_on_its_way_to_the_storage_during_a_decision_survives_a_crash(
    server: Server, database: Database
) -> None:
    await server.group("ann", "ben")
    first = await server.say("ann")
    server.log.gate = asyncio.Event()
    sending = asyncio.create_task(server.say("ann"))
    await server.log.reached.wait()
    assert await server.after(5) == [("ben", "g1", first)]
    server.log.gate.set()
    second = await sending
    again = await restarted(server, database)
    assert await again.after(5) == [("ben", "g1", second)]


async def test_a_message_on_its_way_that_arrives_is_decided_about_without_a_crash(server: Server) -> None:
    await server.group("ann", "ben")
    first = await server.say("ann")
    server.log.gate = asyncio.Event()
    sending = asyncio.create_task(server.say("ann"))
    await server.log.reached.wait()
    assert await server.after(5) == [("ben", "g1", first)]
    assert await server.after(1) == []
    server.log.gate.set()
    second = await sending
    assert await server.after(4.9) == []
    assert await server.after(0.1) == [("ben", "g1", second)]
    assert not server.pushes.is_awake("g1")


@pytest.mark.parametrize("failure", [unavailable("it is away", Reason.NOTIFIER_AWAY), RuntimeError("a bug")])
async def test_a_sink_that_is_away_is_tried_again_and_the_other_channels_go_on(
    server: Server, failure: Exception
) -> None:
    await server.group("ann", "ben")
    await server.group("ann", "cid", channel="g2")
    one = await server.say("ann")
    other = await server.say("ann", channel="g2")
    server.sink.failures.append(failure)
    woken = await server.after(5)
    assert len(woken) == 1
    assert await server.after(4.9) == []
    woken += await server.after(0.1)
    assert sorted(woken) == [("ben", "g1", one), ("cid", "g2", other)]


async def test_a_channel_whose_sleep_could_not_be_noted_is_not_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.group("ann", "ben")
    seq = await server.say("ann")
    decided = server.pending.decided
    failures: list[Refusal] = [unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)]

    async def sometimes(channel_id: str, next_seq: int | None) -> None:
        if failures:
            await server.do("ann", Edit(seq, "changed while it failed"))
            raise failures.pop()
        await decided(channel_id, next_seq)

    monkeypatch.setattr(server.pending, "decided", sometimes)
    assert await server.after(5) == [("ben", "g1", seq)]
    assert server.pushes.is_awake("g1")
    for _ in range(4):
        assert await server.after(5) == []
    assert not server.pushes.is_awake("g1")
    assert await server.pending.channels() == {}
    later = await server.say("ann")
    assert await server.after(5) == [("ben", "g1", later)]


# --- reading after having been woken ----------------------------------------------------------------------------------


async def test_who_was_woken_and_has_read_is_told_of_once(server: Server) -> None:
    await server.group("ann", "bob", "cid")
    first, last = await server.say("ann"), await server.say("ann")
    assert len(await server.after(DELAY)) == 2
    await server.do("bob", MarkRead(first))
    await server.after(1)
    assert server.sink.reads == [], "there is something to be shown still"
    await server.do("bob", MarkRead(last))
    await server.after(1)
    await server.do("bob", MarkRead(last))
    await server.after(1)
    assert server.sink.reads == [PushRead("bob", "g1", last)]


async def test_who_was_not_woken_is_not_told_of(server: Server) -> None:
    await server.group("ann", "bob", "cid")
    seq = await server.say("ann")
    await server.do("bob", MarkRead(seq))
    assert await server.after(DELAY) == [("cid", "g1", seq)]
    await server.after(1)
    assert server.sink.reads == []


async def test_while_the_notifier_is_away_reading_is_remembered(server: Server) -> None:
    await server.group("ann", "bob")
    seq = await server.say("ann")
    await server.after(DELAY)
    await server.do("bob", MarkRead(seq))
    server.sink.failures = [unavailable("no notifier answers", Reason.STORAGE_UNAVAILABLE)]
    await server.after(1)
    assert server.sink.reads == []
    await server.after(1)
    assert server.sink.reads == [PushRead("bob", "g1", seq)]


async def test_what_is_woken_again_and_read_is_told_of_again(server: Server) -> None:
    await server.group("ann", "bob")
    for _ in range(2):
        seq = await server.say("ann")
        await server.after(DELAY)
        await server.do("bob", MarkRead(seq))
        await server.after(DELAY)
    assert [each.upto_seq for each in server.sink.reads] == [seq - 1, seq]


async def test_only_so_many_are_remembered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_server.channels.push_decider._WOKEN_KEPT", 1)
    await server.group("ann", "bob", "cid")
    seq = await server.say("ann")
    await server.after(DELAY)
    for user in ("bob", "cid"):
        await server.do(user, MarkRead(seq))
    await server.after(1)
    assert len(server.sink.reads) == 1
