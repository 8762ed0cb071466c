"""Receipts: gathered, told once, never backwards, saved."""

from __future__ import annotations

import asyncio

from chat_server.channels.receipts import Receipts
from chat_server.channels.rules import Channel
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.session import Session
from tests.support.clock import FakeClock
from tests.support.memory_log import Gate, MemoryLog, StoredChannel, away
from tests.support.sessions import events_of, session
from tidings.core.positions import Positions
from tidings.core.values import ChannelKind, ChannelRecord, ChannelSnapshot, Marks, Member, Role


class Scene:
    """A group of some members, `ann` with a session."""

    def __init__(self, *members: str) -> None:
        record = ChannelRecord("c", ChannelKind.GROUP, 0)
        stored = tuple(Member(each, Role.MEMBER, 1, 0) for each in members)
        self.channel: Channel | None = Channel(ChannelSnapshot(record, "", stored, 100, 1000))
        self.log = MemoryLog()
        self.log.channels["c"] = StoredChannel(record)
        self.clock = FakeClock()
        self.live = SessionRegistry()
        self.ann = self.enter("ann")
        self.receipts = Receipts(self.log, self.live, Positions(self.clock), self.clock, lambda _: self.channel)

    def enter(self, user_id: str) -> Session:
        entered = session(user_id)
        self.live.add(entered)
        return entered

    def delivered(self, user_id: str, seq: int) -> None:
        assert self.channel is not None
        assert self.channel.delivered(user_id, seq)
        self.receipts.changed(self.channel, {user_id})

    def told(self) -> list[dict[str, tuple[int, int]]]:
        return [
            {each.user_id: (each.delivered_seq, each.read_seq) for each in event.receipt.members}
            for event in events_of(self.ann)
        ]

    @property
    def saved(self) -> dict[str, Marks]:
        return self.log.channels["c"].marks


async def test_several_changes_become_one_event_with_the_latest() -> None:
    scene = Scene("ann", "bob", "cid")
    for seq in (1, 2, 3):
        scene.delivered("bob", seq)
        await scene.receipts.flush()
    scene.delivered("cid", 2)
    assert scene.told() == []
    assert scene.receipts.is_unsaved("c")
    scene.clock.advance(0.03)
    await scene.receipts.flush()
    assert scene.told() == [{"bob": (3, 0), "cid": (2, 0)}]
    assert scene.saved == {"bob": Marks(3, 0), "cid": Marks(2, 0)}
    assert not scene.receipts.is_unsaved("c")
    scene.clock.advance(10)
    await scene.receipts.flush()
    assert scene.told() == []
    assert scene.log.saves == 1


async def test_the_larger_the_channel_the_longer_its_receipts_gather() -> None:
    scene = Scene("ann", *[f"u{n}" for n in range(99)])
    scene.delivered("u1", 1)
    scene.clock.advance(0.9)
    await scene.receipts.flush()
    assert scene.told() == []
    scene.clock.advance(0.1)
    await scene.receipts.flush()
    assert scene.told() == [{"u1": (1, 0)}]


async def test_a_busy_channel_tells_once_a_second_and_a_quiet_one_at_once() -> None:
    scene = Scene("ann", "bob")
    for seq in range(1, 31):
        scene.delivered("bob", seq)
        scene.clock.advance(0.1)
        await scene.receipts.flush()
    # At 0.1 s, and a second after that, twice.
    assert scene.told() == [{"bob": (1, 0)}, {"bob": (11, 0)}, {"bob": (21, 0)}]
    assert scene.log.saves == 3
    scene.clock.advance(1)
    await scene.receipts.flush()
    assert scene.told() == [{"bob": (30, 0)}]
    scene.clock.advance(1)
    scene.delivered("bob", 31)
    scene.clock.advance(0.1)
    await scene.receipts.flush()
    assert scene.told() == [{"bob": (31, 0)}]


async def test_a_change_while_others_are_being_saved_is_told_next() -> None:
    scene = Scene("ann", "bob", "cid")
    gate = Gate()
    scene.log.save_gates.append(gate)
    scene.delivered("bob", 1)
    flush = asyncio.create_task(scene.receipts.flush(everything=True))
    await gate.reached.wait()
    scene.delivered("bob", 2)
    scene.delivered("cid", 2)
    assert scene.receipts.is_unsaved("c")
    gate.open()
    await flush
    assert scene.told() == [{"bob": (1, 0)}]
    assert scene.receipts.is_unsaved("c")
    scene.clock.advance(1)
    await scene.receipts.flush()
    assert scene.told() == [{"bob": (2, 0), "cid": (2, 0)}]
    assert scene.saved == {"bob": Marks(2, 0), "cid": Marks(2, 0)}


async def test_while_the_storage_is_away_receipts_wait() -> None:
    scene = Scene("ann", "bob")
    scene.log.fail_save.append(away())
    scene.delivered("bob", 1)
    scene.clock.advance(1)
    await scene.receipts.flush()
    assert scene.told() == []
    assert scene.receipts.is_unsaved("c")
    # Not at once again.
    await scene.receipts.flush()
    assert scene.log.saves == 1
    scene.clock.advance(1)
    await scene.receipts.flush()
    assert scene.told() == [{"bob": (1, 0)}]
    assert scene.saved == {"bob": Marks(1, 0)}


async def test_receipts_of_a_channel_whose_copy_was_thrown_away_wait_for_the_next() -> None:
    scene = Scene("ann", "bob")
    scene.delivered("bob", 1)
    channel, scene.channel = scene.channel, None
    await scene.receipts.flush(everything=True)
    assert scene.receipts.is_unsaved("c")
    scene.channel = channel
    await scene.receipts.flush(everything=True)
    assert scene.told() == [{"bob": (1, 0)}]


async def test_who_has_left_is_neither_told_nor_told_of() -> None:
    scene = Scene("ann", "bob", "cid")
    bob = scene.enter("bob")
    scene.delivered("bob", 1)
    assert scene.channel is not None
    del scene.channel.members["bob"]
    await scene.receipts.flush(everything=True)
    assert scene.told() == []
    scene.delivered("cid", 1)
    await scene.receipts.flush(everything=True)
    assert scene.told() == [{"cid": (1, 0)}]
    assert not bob.outbox
    assert not scene.receipts.is_unsaved("c")


async def test_a_smaller_number_than_before_never_comes() -> None:
    scene = Scene("ann", "bob")
    highest = 0
    for seq in (5, 9, 2, 7, 12):
        assert scene.channel is not None
        if scene.channel.delivered("bob", seq):
            scene.receipts.changed(scene.channel, {"bob"})
        await scene.receipts.flush(everything=True)
        for told in scene.told():
            assert told["bob"][0] > highest
            highest = told["bob"][0]
    assert highest == 12
