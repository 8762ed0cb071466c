"""The sequencer: batches, results and deliveries in order, and what becomes of them when the storage fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from chat_server import events
from chat_server.channels import sequencer as sequencer_module
from chat_server.channels.rules import Channel, Draft
from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tests.support.clock import FakeClock
from tests.support.listening import Listening
from tests.support.memory_log import Gate, MemoryLog, away
from tests.support.sessions import brief, events_of, session, told
from tidings.core.actions import (
    Accepted,
    Action,
    AddMembers,
    CreateChannel,
    Delete,
    Edit,
    Leave,
    MarkRead,
    RemoveMember,
    Retitle,
    Send,
)
from tidings.core.errors import Code, Refusal
from tidings.core.limits import SessionLimits
from tidings.core.positions import Positions
from tidings.core.requests import ChannelRequest
from tidings.core.values import ChannelKind, EntryKind, Identity, LogBatch, LogEntry, Marks
from tidings.rpc.future_reply import FutureReply
from tidings.v1 import chat_pb2


class Scene:
    """A sequencer on a log in memory, and what it told."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.live = SessionRegistry()
        self.clock = FakeClock()
        self.positions = Positions(self.clock)
        self.marked: list[set[str]] = []
        self.written: list[list[int]] = []
        self.awake: set[str] = set()
        self.unsaved: set[str] = set()
        self.revoked: dict[str, int] = {}
        self.sequencer = self.restarted()

    def restarted(self) -> Sequencer:
        """Another sequencer on the same log, which knows nothing yet."""
        told_of = Listening(
            marked=lambda _, user_ids: self.marked.append(set(user_ids)),
            written=self._written,
            is_awake=lambda channel_id: channel_id in self.awake,
            is_unsaved=lambda channel_id: channel_id in self.unsaved,
        )
        self.sequencer = Sequencer(self.log, self.live, self.positions, self.clock, told_of, self.revoked)
        return self.sequencer

    def _written(self, _: Channel, draft: Draft) -> None:
        self.written.append([entry.seq for entry in draft.entries()])

    def enter(self, user_id: str, device_id: str = "") -> Session:
        entered = session(user_id, device_id)
        self.live.add(entered)
        return entered

    def post(self, of: Session, command_id: int, action: Action, channel_id: str = "g") -> None:
        of.start_command()
        reply = SessionReply(of, command_id)
        self.sequencer.post(ChannelRequest(channel_id, of.identity.user_id, action, reply, of.identity))

    async def group(self, *members: str, channel_id: str = "g") -> None:
        """A group of `ann` and members: its log has two entries."""
        await self.sequencer.submit(channel_id, "ann", CreateChannel(ChannelKind.GROUP, "t", members))
        await self.settled(channel_id)
        self.log.batches.clear()
        self.written.clear()

    async def settled(self, channel_id: str = "g") -> Channel:
        """The channel, once everything is done that was asked before."""
        # What is asked now may still come into the last batch; what is asked after its answer comes into the next one.
        for _ in range(2):
            with pytest.raises(Refusal):
                await self.sequencer.submit(channel_id, "a stranger", Leave())
        channel = await self.sequencer.channel(channel_id)
        assert channel is not None
        return channel

    def texts(self, channel_id: str = "g") -> list[str]:
        found = (chat_pb2.Event.FromString(each.body) for each in self.log.entries(channel_id))
        return [each.message.text for each in found if each.HasField("message")]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    seqs = {channel_id: [each.seq for each in stored.entries] for channel_id, stored in made.log.channels.items()}
    assert seqs == {channel_id: list(range(1, len(each) + 1)) for channel_id, each in seqs.items()}
    for each in made.live:
        assert each.in_flight == 0


async def refusal_of(scene: Scene, actor_id: str, action: Action, channel_id: str = "g") -> Refusal:
    with pytest.raises(Refusal) as caught:
        await scene.sequencer.submit(channel_id, actor_id, action)
    return caught.value


# --- batches ----------------------------------------------------------------------------------------------------------


async def test_what_waits_is_one_batch_and_what_comes_meanwhile_the_next(scene: Scene) -> None:
    await scene.group("bob")
    ann = scene.enter("ann")
    gate = Gate()
    scene.log.append_gates.append(gate)
    for n in range(3):
        scene.post(ann, n, Send(f"m{n}", str(n)))
    await gate.reached.wait()
    for n in range(3, 8):
        scene.post(ann, n, Send(f"m{n}", str(n)))
    assert not ann.outbox
    gate.open()
    await scene.settled()
    assert [len(each.entries) for each in scene.log.batches] == [3, 5]
    assert scene.written == [[3, 4, 5], [6, 7, 8, 9, 10]]
    assert told(ann) == [f"#{n}={n + 3}" for n in range(8)]


async def test_results_and_events_come_in_the_order_of_the_log(scene: Scene) -> None:
    await scene.group("bob")
    phone, laptop, bob = scene.enter("ann", "phone"), scene.enter("ann", "laptop"), scene.enter("bob")
    scene.post(phone, 1, Send("1", "a"))
    scene.post(bob, 2, Send("2", "b"))
    scene.post(phone, 3, Send("3", ""))
    scene.post(phone, 4, Edit(3, "not there yet"))
    scene.post(phone, 5, Send("1", "a"))
    scene.post(bob, 6, MarkRead(3))
    scene.post(bob, 7, Send("7", "c"))
    await scene.settled()
    assert told(phone) == ["#1=3", "4", "#3=5", "6", "#4!", "#5=3"]
    assert told(laptop) == ["3", "4", "5", "6"]
    assert told(bob) == ["3", "#2=4", "5", "#7=6", "#6=3"]


async def test_a_batch_is_bounded_by_count(scene: Scene) -> None:
    await scene.group("bob")
    ann = scene.enter("ann")
    for n in range(1_100):
        scene.post(ann, n, Send(f"m{n}", "x"))
    await scene.settled()
    assert [len(each.entries) for each in scene.log.batches] == [512, 512, 76]
    assert ann.ended is None


async def test_a_batch_is_bounded_by_size_since_it_goes_out_as_one_frame(scene: Scene) -> None:
    await scene.group("bob")
    frames: list[bytes] = []
    bob = Session("s", Identity("bob", "bob's", 1), SessionLimits(), lambda each: frames.append(each.outbox.take()))
    scene.live.add(bob)
    for n in range(12):
        action = Send(f"m{n}", "😀" * (100_000 if n % 3 == 0 else 20_000))
        scene.sequencer.post(ChannelRequest("g", "ann", action, FutureReply()))
    await scene.settled()
    assert max(map(len, frames)) < 600_000
    assert [len(chat_pb2.ConverseResponse.FromString(each).events) for each in frames] == [2] * 6


async def test_channels_do_not_wait_for_each_other(scene: Scene) -> None:
    await scene.group("bob")
    await scene.group("bob", channel_id="h")
    gate = Gate()
    scene.log.append_gates.append(gate)
    slow = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("1", "x")))
    await gate.reached.wait()
    assert (await scene.sequencer.submit("h", "ann", Send("1", "x"))).seq == 3
    assert not slow.done()
    gate.open()
    assert (await slow).seq == 3


async def test_what_waits_of_a_device_is_refused_once_it_is_signed_out(scene: Scene) -> None:
    await scene.group("bob")
    ann, laptop = scene.enter("ann", "phone"), scene.enter("ann", "laptop")
    gate = Gate()
    scene.log.append_gates.append(gate)
    scene.post(ann, 1, Send("1", "before"))
    await gate.reached.wait()
    scene.post(ann, 2, Send("2", "too late"))
    scene.post(laptop, 1, Send("3", "from another device"))
    scene.revoked["phone"] = ann.identity.epoch
    gate.open()
    await scene.settled()
    assert scene.texts() == ["before", "from another device"]
    # It is back, and what it asks for now is of a later epoch.
    ann.identity = dataclasses.replace(ann.identity, epoch=ann.identity.epoch + 1)
    scene.post(ann, 3, Send("4", "back"))
    await scene.settled()
    assert scene.texts() == ["before", "from another device", "back"]


async def test_what_is_being_written_of_a_device_can_be_waited_for(scene: Scene) -> None:
    await scene.group("bob")
    ann = scene.enter("ann", "phone")
    await scene.sequencer.settle(["phone"])
    gate = Gate()
    scene.log.append_gates.append(gate)
    scene.post(ann, 1, Send("1", "x"))
    await gate.reached.wait()
    await scene.sequencer.settle(["laptop"])
    settling = [asyncio.create_task(scene.sequencer.settle(["phone"])) for _ in range(2)]
    await asyncio.sleep(0)
    settling.pop().cancel()
    assert not settling[0].done()
    gate.open()
    await settling[0]
    assert scene.texts() == ["x"]


async def test_whatever_is_written_wakes_the_channel_unless_it_is_awake(scene: Scene) -> None:
    await scene.group("bob")
    await scene.sequencer.submit("g", "ann", Send("1", "x"))
    await scene.sequencer.submit("g", "ann", Retitle("y"))
    scene.awake.add("g")
    await scene.sequencer.submit("g", "ann", Send("2", "x"))
    assert [each.wakes_push for each in scene.log.batches] == [True, True, False]


async def test_an_audience_is_told_only_what_it_may_see(scene: Scene) -> None:
    await scene.group("bob")
    ann, bob, cid = scene.enter("ann"), scene.enter("bob"), scene.enter("cid")
    for action in (Send("1", "a"), AddMembers(("cid",)), Send("2", "b"), RemoveMember("bob"), Send("3", "c")):
        scene.sequencer.post(ChannelRequest("g", "ann", action, FutureReply()))
    await scene.settled()
    assert [told(each) for each in (ann, bob, cid)] == [
        ["3", "4", "5", "6", "7"],
        ["3", "4", "5", "6"],
        ["4", "5", "6", "7"],
    ]
    assert [len(each.entries) for each in scene.log.batches] == [5]


async def test_a_refusal_harms_nobody_else(scene: Scene) -> None:
    await scene.group("bob")
    ann, eve = scene.enter("ann"), scene.enter("eve")
    scene.post(ann, 1, Send("1", "a"))
    scene.post(eve, 2, Send("2", "let me in"))
    scene.post(ann, 3, MarkRead(99))
    # Beyond what an engine can count to: no message, and no malfunction.
    scene.post(ann, 4, Edit((1 << 64) - 1, "x"))
    scene.post(ann, 5, Delete(1 << 63))
    scene.post(ann, 6, Send("6", "b"))
    await scene.settled()
    assert told(ann) == ["#1=3", "#6=4", "#3!", "#4!", "#5!"]
    (event,) = events_of(eve)
    assert event.command_result.error.message == "no such channel"
    assert scene.texts() == ["a", "b"]


# --- once -------------------------------------------------------------------------------------------------------------


async def test_a_resend_gives_the_first_result_and_never_a_second_message(scene: Scene) -> None:
    await scene.group("bob")
    first = await scene.sequencer.submit("g", "ann", Send("1", "x"))
    assert await scene.sequencer.submit("g", "ann", Send("1", "x")) == first
    scene.restarted()
    resent, other = await asyncio.gather(
        scene.sequencer.submit("g", "ann", Send("1", "x")), scene.sequencer.submit("g", "bob", Send("1", "bob's"))
    )
    assert resent == first
    assert other.seq == 4
    assert scene.texts() == ["x", "bob's"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_something_else_under_a_name_that_the_log_has_is_refused(scene: Scene, restarted: bool) -> None:
    await scene.group("bob")
    first = await scene.sequencer.submit("g", "ann", Send("1", "x"))
    edit = await scene.sequencer.submit("g", "ann", Edit(first.seq, "y", "2"))
    if restarted:
        scene.restarted()
    asked = (Send("1", "y"), Edit(first.seq, "x", "1"), Edit(first.seq, "x", "2"), Send("2", "y"))
    outcomes = await asyncio.gather(
        *(scene.sequencer.submit("g", "ann", each) for each in asked),
        scene.sequencer.submit("g", "ann", Send("1", "x")),
        scene.sequencer.submit("g", "ann", Send("3", "new")),
        return_exceptions=True,
    )
    for outcome, said_first in zip(outcomes, (first, first, edit, edit), strict=False):
        assert isinstance(outcome, Refusal)
        assert (outcome.code, outcome.metadata["first_seq"]) == (Code.ALREADY_EXISTS, str(said_first.seq))
    assert outcomes[4] == first
    assert isinstance(outcomes[5], Accepted)
    assert len(scene.log.entries("g")) == 5


async def test_many_resends_in_one_batch_after_a_restart(scene: Scene) -> None:
    await scene.group("bob")
    ann = scene.enter("ann")
    for n in range(400):
        scene.post(ann, n, Send(f"m{n}", "x"))
    await scene.settled()
    first = told(ann)
    scene.restarted()
    # New ones before them would push what is remembered out of a small memory.
    for n in range(100):
        scene.post(ann, n, Send(f"new{n}", "y"))
    for n in range(400):
        scene.post(ann, n, Send(f"m{n}", "x"))
    await scene.settled()
    assert told(ann)[100:] == first
    assert len(scene.log.entries("g")) == 502


async def test_a_message_twice_in_one_large_batch_is_one(scene: Scene) -> None:
    await scene.group("bob")
    gate = Gate()
    scene.log.append_gates.append(gate)
    opener = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("opener", "x")))
    await gate.reached.wait()
    asked = [scene.sequencer.submit("g", "ann", Send(f"m{n % 300}", "x")) for n in range(500)]
    results = asyncio.gather(*asked)
    await asyncio.sleep(0)
    gate.open()
    await opener
    seqs = [each.seq for each in await results]
    assert seqs == [4 + n % 300 for n in range(500)]
    assert len(scene.log.entries("g")) == 303


# --- when the storage fails -------------------------------------------------------------------------------------------


async def test_a_batch_that_fails_answers_unavailable_and_the_next_one_goes_on(scene: Scene) -> None:
    await scene.group("bob")
    ann, bob = scene.enter("ann"), scene.enter("bob")
    gate = Gate()
    scene.log.append_gates.append(gate)
    scene.log.fail_before.append(away())
    scene.post(ann, 1, Send("1", "a"))
    scene.post(bob, 2, Leave())
    await gate.reached.wait()
    scene.post(ann, 3, Send("3", "b"))
    gate.open()
    await scene.settled()
    assert scene.texts() == ["b"]
    results = events_of(ann)
    assert [brief(each) for each in results] == ["#1!", "#3=3"]
    error = results[0].command_result.error
    assert error.code == 14
    assert told(bob) == ["#2!", "3"]
    # What was refused may be asked again, and nothing of it had stayed behind.
    assert (await scene.sequencer.submit("g", "ann", Send("1", "a"))).seq == 4
    assert (await scene.sequencer.submit("g", "bob", Leave())).seq == 5


async def test_a_batch_whose_answer_got_lost_is_found_by_its_name(scene: Scene) -> None:
    await scene.group("bob")
    scene.log.fail_after.append(away())
    assert (await refusal_of(scene, "ann", Send("1", "a"))).code is Code.UNAVAILABLE
    assert scene.texts() == ["a"]
    found, new = await asyncio.gather(
        scene.sequencer.submit("g", "ann", Send("1", "a")), scene.sequencer.submit("g", "ann", Send("2", "b"))
    )
    assert (found.seq, found.position) == (3, scene.log.entries("g")[2].position)
    assert new.seq == 4
    assert scene.texts() == ["a", "b"]


async def test_a_malfunction_is_answered_and_the_channel_goes_on(scene: Scene) -> None:
    await scene.group("bob")
    scene.log.fail_before.append(RuntimeError("a bug"))
    assert (await refusal_of(scene, "ann", Send("1", "a"))).code is Code.INTERNAL
    assert (await scene.sequencer.submit("g", "ann", Send("1", "a"))).seq == 3


async def test_another_sequencers_batch_is_taken_notice_of(scene: Scene) -> None:
    await scene.group("bob")
    position = scene.positions.next()
    body = events.message("g", 3, position, 1, "bob", "theirs", "first", 0)
    rival = LogEntry(3, position, EntryKind.MESSAGE, "bob", body, "theirs")
    scene.log.rivals.append(LogBatch("g", (rival,)))
    result, resent = await asyncio.gather(
        scene.sequencer.submit("g", "ann", Send("mine", "second")),
        scene.sequencer.submit("g", "bob", Send("theirs", "first")),
    )
    assert result.seq == 4
    assert resent == Accepted("g", 3, position, 1)
    assert scene.texts() == ["first", "second"]
    positions = [each.position for each in scene.log.entries("g")]
    assert positions == sorted(set(positions))


async def test_a_sequencer_that_never_gets_its_turn_gives_up_with_a_clear_no(scene: Scene) -> None:
    await scene.group("bob")
    for seq in range(3, 30):
        body = events.message("g", seq, seq << 50, 1, "bob", f"t{seq}", "x", 0)
        scene.log.rivals.append(LogBatch("g", (LogEntry(seq, seq << 50, EntryKind.MESSAGE, "bob", body, f"t{seq}"),)))
    refusal = await refusal_of(scene, "ann", Send("mine", "x"))
    assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "OWNER_CONTENDED")
    scene.log.rivals.clear()
    await scene.sequencer.submit("g", "ann", Send("mine", "x"))
    assert scene.texts()[-1] == "x"


async def test_a_channel_that_cannot_be_loaded_answers_everyone_who_asks(scene: Scene) -> None:
    await scene.group("bob")
    scene.restarted()
    scene.log.fail_load += [away(), away()]
    assert (await refusal_of(scene, "ann", Send("1", "x"))).reason == "STORAGE_UNAVAILABLE"
    with pytest.raises(Refusal):
        await scene.sequencer.channel("g")
    assert len(scene.sequencer) == 0
    assert (await scene.sequencer.submit("g", "ann", Send("1", "x"))).seq == 3


# --- marks ------------------------------------------------------------------------------------------------------------


async def test_a_read_mark_is_saved_before_it_is_answered(scene: Scene) -> None:
    await scene.group("bob")
    bob = scene.enter("bob")
    gate = Gate()
    scene.log.save_gates.append(gate)
    scene.post(bob, 1, MarkRead(2))
    await gate.reached.wait()
    assert not bob.outbox
    assert scene.marked == []
    gate.open()
    await scene.settled()
    assert told(bob) == ["#1=2"]
    assert scene.marked == [{"bob"}]
    assert scene.log.channels["g"].marks == {"bob": Marks(2, 2)}


async def test_entries_do_not_wait_for_read_marks(scene: Scene) -> None:
    await scene.group("bob")
    ann, bob = scene.enter("ann"), scene.enter("bob")
    gate = Gate()
    scene.log.save_gates.append(gate)
    scene.post(bob, 1, MarkRead(2))
    scene.post(ann, 2, Send("1", "x"))
    await gate.reached.wait()
    assert told(ann) == ["#2=3"]
    assert told(bob) == ["3"]
    gate.open()
    await scene.settled()
    assert told(bob) == ["#1=2"]


async def test_a_read_mark_that_is_not_saved_is_refused_alone_and_saved_the_next_time(scene: Scene) -> None:
    await scene.group("bob")
    ann, bob = scene.enter("ann"), scene.enter("bob")
    scene.log.fail_save.append(away())
    scene.post(bob, 1, MarkRead(2))
    scene.post(ann, 2, Send("1", "x"))
    await scene.settled()
    assert told(ann) == ["#2=3"]
    assert told(bob) == ["3", "#1!"]
    assert scene.log.channels["g"].marks == {}
    assert scene.marked == []
    scene.post(bob, 3, MarkRead(2))
    await scene.settled()
    assert told(bob) == ["#3=2"]
    assert scene.log.channels["g"].marks == {"bob": Marks(2, 2)}
    assert scene.marked == [{"bob"}]


async def test_a_read_mark_of_a_batch_that_fails_does_not_move(scene: Scene) -> None:
    await scene.group("bob")
    scene.log.fail_before.append(away())
    asked = (Send("1", "x"), MarkRead(3))
    outcomes = await asyncio.gather(
        *(scene.sequencer.submit("g", "bob", action) for action in asked), return_exceptions=True
    )
    assert all(isinstance(each, Refusal) for each in outcomes)
    assert "bob" not in (await scene.settled()).marks
    refusal = await refusal_of(scene, "bob", MarkRead(3))
    assert refusal.code is Code.INVALID_ARGUMENT


async def test_delivered_marks_outlive_a_failed_batch(scene: Scene) -> None:
    await scene.group("bob")
    channel = await scene.settled()
    assert channel.delivered("bob", 2)
    scene.unsaved.add("g")
    # The storage is away for a while: neither the batch nor the channel comes through.
    scene.log.fail_before.append(away())
    scene.log.fail_load.append(away())
    await refusal_of(scene, "ann", Send("1", "x"))
    again = await scene.settled()
    assert again is not channel
    assert again.marks["bob"] == Marks(2, 0)


# --- making channels --------------------------------------------------------------------------------------------------


async def test_a_direct_channel_opened_from_both_sides_at_once_is_one(scene: Scene) -> None:
    opened = [
        scene.sequencer.submit("d", one, CreateChannel(ChannelKind.DIRECT, "", (other,)))
        for one, other in (("ann", "bob"), ("bob", "ann"), ("ann", "bob"))
    ]
    assert await asyncio.gather(*opened) == [Accepted("d", 0, 0)] * 3
    assert set(scene.log.channels["d"].members) == {"ann", "bob"}
    assert (await scene.sequencer.submit("d", "bob", Send("1", "x"))).seq == 1


async def test_a_direct_channel_that_another_server_makes_at_the_same_time_is_one(scene: Scene) -> None:
    draft = Draft(scene.positions, 1, {})
    Channel.unborn("d", ChannelKind.DIRECT, 5).apply("bob", CreateChannel(ChannelKind.DIRECT, "", ("ann",)), draft)
    rival = draft.batch("d", is_awake=True)
    assert rival is not None
    scene.log.rivals.append(rival)
    made = await scene.sequencer.submit("d", "ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)))
    assert made == Accepted("d", 0, 0)
    assert scene.log.channels["d"].record.created_at_ms == 5


async def test_a_block_that_comes_while_the_channel_is_made_counts(scene: Scene) -> None:
    gate = Gate()
    scene.log.append_gates.append(gate)
    making = asyncio.create_task(scene.sequencer.submit("d", "ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",))))
    await gate.reached.wait()
    scene.log.blocked.add("d")
    refreshing = asyncio.create_task(scene.sequencer.refresh("d"))
    await asyncio.sleep(0)
    gate.open()
    await making
    await refreshing
    assert (await refusal_of(scene, "ann", Send("1", "x"), "d")).reason == "BLOCKED"
    scene.log.blocked.clear()
    await scene.sequencer.refresh("d")
    assert (await scene.sequencer.submit("d", "ann", Send("1", "x"))).seq == 1


async def test_a_block_from_just_before_the_channel_was_made_counts(scene: Scene) -> None:
    scene.log.blocked.add("d")
    await scene.sequencer.refresh("d")
    await scene.sequencer.submit("d", "ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)))
    assert (await refusal_of(scene, "ann", Send("1", "x"), "d")).reason == "BLOCKED"


async def test_a_block_that_comes_while_the_channel_is_loaded_counts(scene: Scene) -> None:
    await scene.sequencer.submit("d", "ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)))
    scene.restarted()
    gate = Gate()
    scene.log.load_gates.append(gate)
    loading = asyncio.create_task(scene.sequencer.channel("d"))
    await gate.reached.wait()
    # The load has read what was before.
    scene.log.blocked.add("d")
    refreshing = asyncio.create_task(scene.sequencer.refresh("d"))
    await asyncio.sleep(0)
    gate.open()
    await refreshing
    channel = await loading
    assert channel is not None
    assert channel.blocked


async def test_an_unknown_channel_is_not_kept_in_memory(scene: Scene) -> None:
    assert await scene.sequencer.channel("no") is None
    refusal = await refusal_of(scene, "ann", Send("1", "x"), "no")
    assert (refusal.code, refusal.message) == (Code.NOT_FOUND, "no such channel")
    members = tuple(f"u{n}" for n in range(100))
    refusal = await refusal_of(scene, "ann", CreateChannel(ChannelKind.GROUP, "t", members), "no")
    assert refusal.reason == "GROUP_FULL"
    await scene.sequencer.refresh("no")
    assert await scene.sequencer.channel("no") is None
    assert len(scene.sequencer) == 0
    assert scene.log.channels == {}


async def test_simultaneous_adds_never_pass_100(scene: Scene) -> None:
    await scene.group(*[f"u{n}" for n in range(90)])
    adds = [scene.sequencer.submit("g", "ann", AddMembers((f"x{n}", f"y{n}"))) for n in range(20)]
    outcomes = await asyncio.gather(*adds, return_exceptions=True)
    assert [isinstance(each, Accepted) for each in outcomes] == [True] * 4 + [False] * 16
    assert all(each.reason == "GROUP_FULL" for each in outcomes if isinstance(each, Refusal))
    assert len(scene.log.channels["g"].members) == 99
    assert isinstance(await scene.sequencer.submit("g", "ann", AddMembers(("last",))), Accepted)


async def test_simultaneous_adds_on_two_servers_never_pass_100(scene: Scene) -> None:
    await scene.group(*[f"u{n}" for n in range(90)])
    one, other = scene.sequencer, scene.restarted()
    adds = [(one, other)[n % 2].submit("g", "ann", AddMembers((f"x{n}", f"y{n}"))) for n in range(20)]
    outcomes = await asyncio.gather(*adds, return_exceptions=True)
    accepted = [each for each in outcomes if isinstance(each, Accepted)]
    assert len(accepted) == 4
    assert len({each.seq for each in accepted}) == 4
    assert len(scene.log.channels["g"].members) == 99


# --- loading and forgetting -------------------------------------------------------------------------------------------


async def test_a_channel_is_loaded_once_for_all_who_look(scene: Scene) -> None:
    await scene.group("bob")
    scene.restarted()
    scene.log.loads = 0
    gate = Gate()
    scene.log.load_gates.append(gate)
    looking = [asyncio.create_task(scene.sequencer.channel("g")) for _ in range(3)]
    await gate.reached.wait()
    sending = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("1", "x")))
    looking.append(asyncio.create_task(scene.sequencer.channel("g")))
    await asyncio.sleep(0)
    gate.open()
    channels = await asyncio.gather(*looking)
    assert {id(each) for each in channels} == {id(scene.sequencer.loaded("g"))}
    assert (await sending).seq == 3
    assert scene.log.loads == 1
    assert channels[0] is not None
    assert channels[0].head_seq == 3


async def test_what_is_asked_while_somebody_looks_for_a_new_channel_keeps_its_order(scene: Scene) -> None:
    gate = Gate()
    scene.log.load_gates.append(gate)
    looking = asyncio.create_task(scene.sequencer.channel("g"))
    await gate.reached.wait()
    creating = asyncio.create_task(scene.sequencer.submit("g", "ann", CreateChannel(ChannelKind.GROUP, "t", ())))
    await asyncio.sleep(0)
    gate.open()
    assert await looking is None
    sending = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("1", "x")))
    assert (await creating).seq == 2
    assert (await sending).seq == 3


async def test_who_stops_looking_harms_nobody(scene: Scene) -> None:
    await scene.group("bob")
    scene.restarted()
    gate = Gate()
    scene.log.load_gates.append(gate)
    impatient, patient = (asyncio.create_task(scene.sequencer.channel("g")) for _ in range(2))
    await gate.reached.wait()
    impatient.cancel()
    gate.open()
    assert await patient is scene.sequencer.loaded("g")
    assert impatient.cancelled()


async def test_who_gives_up_waiting_for_an_answer_harms_nobody(scene: Scene) -> None:
    await scene.group("bob")
    gate = Gate()
    scene.log.append_gates.append(gate)
    impatient = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("1", "x")))
    patient = asyncio.create_task(scene.sequencer.submit("g", "ann", Send("2", "y")))
    await gate.reached.wait()
    impatient.cancel()
    gate.open()
    assert (await patient).seq == 4


async def test_channels_used_longest_ago_are_forgotten_unless_they_are_needed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer_module, "_CHANNELS_KEPT", 3)
    for channel_id in ("unsaved", "busy", "idle", "used"):
        await scene.group("bob", channel_id=channel_id)
    scene.restarted()
    scene.unsaved.add("unsaved")
    for channel_id in ("unsaved", "busy", "idle"):
        await scene.sequencer.channel(channel_id)
    gate = Gate()
    scene.log.append_gates.append(gate)
    sending = asyncio.create_task(scene.sequencer.submit("busy", "ann", Send("1", "x")))
    await gate.reached.wait()
    for channel_id in ("unsaved", "idle", "unsaved"):
        assert await scene.sequencer.channel(channel_id) is not None
    await scene.sequencer.channel("used")
    assert scene.sequencer.loaded("idle") is None
    assert [scene.sequencer.loaded(each) is not None for each in ("unsaved", "busy", "used")] == [True] * 3
    assert len(scene.sequencer) == 3
    gate.open()
    assert (await sending).seq == 3
    # Forgotten is not lost.
    assert (await scene.sequencer.submit("idle", "ann", Send("1", "x"))).seq == 3


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_closing_finishes_what_is_under_way_and_refuses_the_rest(scene: Scene) -> None:
    await scene.group("bob")
    ann = scene.enter("ann")
    gate = Gate()
    scene.log.append_gates.append(gate)
    scene.post(ann, 1, Send("1", "a"))
    await gate.reached.wait()
    scene.post(ann, 2, Send("2", "b"))
    closing = asyncio.create_task(scene.sequencer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open()
    await closing
    results = events_of(ann)
    assert [brief(each) for each in results] == ["#1=3", "#2!"]
    assert results[1].command_result.error.code == 14
    refusal = await refusal_of(scene, "ann", Send("3", "c"))
    assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "DRAINING")
    assert scene.texts() == ["a"]
    # To save its receipts, the channel is still there.
    assert scene.sequencer.loaded("g") is not None


async def test_closing_with_nothing_under_way(scene: Scene) -> None:
    await scene.sequencer.close()
    assert (await refusal_of(scene, "ann", CreateChannel(ChannelKind.GROUP, "t", ()))).reason == "DRAINING"
