"""Devices of several people do what they like, in any order, and a trivial model beside them agrees.

The model is a list for each channel. What a device has of a channel must be that list, as far as its user may see it:
in order, each seq once, whatever was dropped, replayed, resent or restarted meanwhile. Storage, owner, sessions and
replay are the real ones; only the streams are missing.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from google.rpc import error_details_pb2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from chat_server.channels.receipts import Receipts
from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tests.support.clock import FakeClock
from tests.support.listening import Listening, ReplyTo
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.core import actions
from tidings.core.actions import Action
from tidings.core.errors import Refusal
from tidings.core.limits import SessionLimits
from tidings.core.ports import PageRequest
from tidings.core.positions import Positions
from tidings.core.requests import ChannelRequest, Outcome
from tidings.core.values import ChannelKind, Identity, Marks, Role, SeqRange
from tidings.v1 import chat_pb2

T = TypeVar("T")

USERS = ("ann", "bob", "cid", "dan")
DEVICES = ("ann 1", "ann 2", "bob 1", "bob 2", "cid 1", "dan 1")
GROUP, DIRECT = "group", "direct"
CHANNELS = st.sampled_from((GROUP, GROUP, DIRECT))
PICKS = st.integers(0, 12)
"""How many entries, or messages, back. No draw may depend on what is online: that is for the threads to say."""

Entry = tuple[str, ...]
"""What an entry says: its sort, its author, and what it holds."""
Expected = int | str
"""The seq of an accepted command, or the reason of a refusal."""


@dataclass
class ModelChannel:
    """A channel as a list."""

    log: list[Entry] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    stays: dict[str, list[SeqRange]] = field(default_factory=dict)
    sent: dict[tuple[str, str], int] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)
    """By message: the seq of its deletion."""
    edited: dict[int, int] = field(default_factory=dict)
    """By message: the seq of its latest edit."""
    read: dict[str, int] = field(default_factory=dict)
    is_group: bool = True

    def add(self, *entry: str) -> int:
        self.log.append(entry)
        return len(self.log)

    def enter(self, user_id: str, role: Role, since: int) -> None:
        self.roles[user_id] = role
        self.stays.setdefault(user_id, []).append(SeqRange(since))

    def go(self, user_id: str, until: int) -> None:
        del self.roles[user_id]
        self.read.pop(user_id, None)
        self.stays[user_id][-1] = SeqRange(self.stays[user_id][-1].first, until)

    def sees(self, user_id: str) -> list[int]:
        stays = self.stays.get(user_id, [])
        return [seq for seq in range(1, len(self.log) + 1) if any(seq in each for each in stays)]

    def do(self, actor: str, action: Action) -> Expected:
        """Does it and tells what has to come of it."""
        if actor not in self.roles:
            return "NOT_FOUND"
        match action:
            case actions.Send(name, text):
                if (actor, name) not in self.sent:
                    self.sent[actor, name] = self.add("message", actor, text)
                first = self.sent[actor, name]
                says_else = first not in self.deleted and self.log[first - 1][2] != text
                return "CLIENT_MESSAGE_ID_REUSED" if says_else else first
            case actions.Edit(seq, text):
                return self._target(actor, seq, actor) or self._edit(actor, seq, text)
            case actions.Delete(seq):
                author = self.log[seq - 1][1] if self.roles[actor] is Role.MEMBER else None
                return self._target(actor, seq, author and actor) or self._delete(actor, seq)
            case actions.MarkRead(seq):
                if seq > len(self.log):
                    return "INVALID_FIELD"
                self.read[actor] = max(seq, self.read.get(actor, 0))
                return self.read[actor]
        if not self.is_group:
            return "NOT_A_GROUP"
        return self._do_to_group(actor, action)

    def _target(self, actor: str, seq: int, author: str | None) -> str:
        if seq < self.stays[actor][-1].first or self.log[seq - 1][0] != "message":
            return "NOT_FOUND"
        return "NOT_THE_AUTHOR" if author is not None and self.log[seq - 1][1] != author else ""

    def _edit(self, actor: str, seq: int, text: str) -> Expected:
        if seq in self.deleted:
            return "MESSAGE_DELETED"
        self.edited[seq] = self.add("edit", actor, str(seq), text)
        return self.edited[seq]

    def _delete(self, actor: str, seq: int) -> Expected:
        if seq not in self.deleted:
            self.deleted[seq] = self.add("deletion", actor, str(seq))
        return self.deleted[seq]

    def _do_to_group(self, actor: str, action: Action) -> Expected:
        role, roles = self.roles[actor], self.roles
        match action:
            case actions.Leave():
                seq = self.add("membership", actor)
                self.go(actor, seq)
                if role is Role.OWNER and roles:
                    heir = min(roles, key=lambda each: (-roles[each], self.stays[each][-1].first, each))
                    roles[heir] = Role.OWNER
                return seq
            case actions.ChangeRole(user_id, new):
                if role is not Role.OWNER:
                    return "ROLE_TOO_LOW"
                if user_id not in roles:
                    return "NOT_FOUND"
                if user_id == actor:
                    return "OWNER_KEEPS_ROLE"
                if roles[user_id] is new:
                    return len(self.log)
                roles[user_id] = new
                if new is Role.OWNER:
                    roles[actor] = Role.ADMIN
                return self.add("membership", actor)
        if role is Role.MEMBER:
            return "ROLE_TOO_LOW"
        match action:
            case actions.AddMembers(user_ids):
                new_ones = [each for each in dict.fromkeys(user_ids) if each not in roles]
                if new_ones:
                    seq = self.add("membership", actor)
                    for each in new_ones:
                        self.enter(each, Role.MEMBER, seq)
                return len(self.log)
            case actions.RemoveMember(user_id):
                if user_id not in roles:
                    return "NOT_FOUND"
                if user_id == actor:
                    return "LEAVE_INSTEAD"
                if roles[user_id] >= role:
                    return "ROLE_TOO_LOW"
                self.go(user_id, len(self.log) + 1)
                return self.add("membership", actor)
            case actions.Retitle(title):
                return self.add("title", actor, title)
        raise AssertionError(action)


@dataclass
class Device:
    """A client: what it has, and the stream that it may have."""

    name: str
    session: Session | None = None
    replay: asyncio.Task[None] | None = None
    may_replay: asyncio.Event = field(default_factory=asyncio.Event)
    cursor: int = 0
    copies: dict[str, dict[int, Entry]] = field(default_factory=dict)
    wire: list[bytes] = field(default_factory=list)
    """Frames that the replay wrote and the client has not read."""
    due: dict[int, tuple[str, Entry, Expected]] = field(default_factory=dict)
    """Commands on this stream without a result: the channel, what an entry of it says, what is to come of it."""

    @property
    def user_id(self) -> str:
        return self.name.split()[0]

    async def write(self, frame: bytes) -> None:
        await asyncio.sleep(0)
        self.wire.append(frame)

    def read(self) -> None:
        """Reads all that has come."""
        frames, self.wire = self.wire, []
        if self.session is not None:
            frames.append(self.session.outbox.take())
        for frame in frames:
            for event in chat_pb2.ConverseResponse.FromString(frame).events:
                self._take(event)

    def _take(self, event: chat_pb2.Event) -> None:
        kind = event.WhichOneof("body")
        if kind == "command_result":
            self._take_result(event.command_result)
        elif (entry := entry_of(event)) is not None:
            body = getattr(event, kind or "")
            copy = self.copies.setdefault(body.channel_id, {})
            assert body.seq > max(copy, default=0), "an event came twice, or after a later one"
            copy[body.seq] = entry
            assert body.position == event.position
        self.cursor = max(self.cursor, event.position, event.sync_complete.position)

    def _take_result(self, result: chat_pb2.CommandResult) -> None:
        channel_id, entry, expected = self.due.pop(result.command_id)
        if result.HasField("error"):
            assert reason_in(result.error.details) == expected
            return
        assert result.accepted.seq == expected
        copy = self.copies.setdefault(channel_id, {})
        if result.accepted.position and result.accepted.seq > max(copy, default=0):
            # The result of what made an event stands in its place.
            copy[result.accepted.seq] = entry


def entry_of(event: chat_pb2.Event) -> Entry | None:
    """What an event of a log says; None for one that is in no log."""
    match event.WhichOneof("body"):
        case "message":
            message = event.message
            return ("message", message.sender_id, "" if message.deleted else message.text)
        case "message_edited":
            edited = event.message_edited
            return ("edit", edited.editor_id, str(edited.message_seq), edited.text)
        case "message_deleted":
            deleted = event.message_deleted
            return ("deletion", deleted.actor_id, str(deleted.message_seq))
        case "membership_changed":
            return ("membership", event.membership_changed.actor_id)
        case "channel_updated":
            return ("title", event.channel_updated.actor_id, event.channel_updated.title)
    return None


def reason_in(details: Any) -> str:
    """The reason in the ErrorInfo of a status."""
    info = error_details_pb2.ErrorInfo()
    assert any(each.Unpack(info) for each in details)
    return str(info.reason)


def entry_for(actor: str, action: Action) -> Entry:
    """The entry that a command makes, if it is accepted."""
    match action:
        case actions.Send(_, text):
            return ("message", actor, text)
        case actions.Edit(seq, text):
            return ("edit", actor, str(seq), text)
        case actions.Delete(seq):
            return ("deletion", actor, str(seq))
    return ()


class ChannelMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name))
        self.log = SqliteChannelLog(self.database)
        self.inbox = SqliteInbox(self.database)
        self.history = SqliteHistory(self.database)
        self.clock = FakeClock()
        self.devices = {name: Device(name) for name in DEVICES}
        self.model = {GROUP: ModelChannel(), DIRECT: ModelChannel(is_group=False)}
        self.answers: list[tuple[Expected, list[Outcome]]] = []
        self.resendable: list[tuple[str, str, actions.Send]] = []
        self.count = 0
        self.start_server()

    def start_server(self) -> None:
        self.live = SessionRegistry()
        positions = Positions(self.clock, after=self.run(self.log.committed_position()))
        told_of = Listening(
            marked=lambda channel, user_ids: self.receipts.changed(channel, user_ids),
            written=lambda channel, draft: None,
            is_awake=lambda channel_id: False,
            is_unsaved=lambda channel_id: self.receipts.is_unsaved(channel_id),
        )
        self.owner = Sequencer(self.log, self.live, positions, self.clock, told_of)
        self.receipts = Receipts(self.log, self.live, positions, self.clock, self.owner.loaded)
        self.replayer = CatchUp("server", self.log, self.inbox, self.clock, 30 * 24 * 3600 * 1000)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def number(self) -> int:
        self.count += 1
        return self.count

    # --- what is done -------------------------------------------------------------------------------------------------

    async def post(self, device: Device, channel_id: str, action: Action) -> None:
        """A command on a device's stream."""
        assert device.session is not None
        command_id = self.number()
        expected = self.model[channel_id].do(device.user_id, action)
        device.due[command_id] = channel_id, entry_for(device.user_id, action), expected
        device.session.start_command()
        reply = SessionReply(device.session, command_id)
        self.owner.post(ChannelRequest(channel_id, device.user_id, action, reply))
        await asyncio.sleep(0)

    async def call(self, actor: str, channel_id: str, action: Action) -> None:
        """A call of ChannelService, whose answer is looked at when all is quiet."""
        outcomes: list[Outcome] = []
        self.answers.append((self.model[channel_id].do(actor, action), outcomes))
        self.owner.post(ChannelRequest(channel_id, actor, action, ReplyTo(outcomes.append)))
        await asyncio.sleep(0)

    def online(self, name: str) -> Device | None:
        """The device, if it is connected and up to date: before that, nothing is read from its stream."""
        device = self.devices[name]
        return device if device.session is not None and device.replay is not None and device.replay.done() else None

    def pick_online(self, who: int) -> list[Device]:
        """One of the devices that are online, or none when there are none."""
        online = [device for device in map(self.online, DEVICES) if device is not None]
        return online[who % max(1, len(online)) :][:1]

    async def quiet(self) -> None:
        """Waits until everything asked for is done."""
        for device in self.devices.values():
            device.may_replay.set()
            if device.replay is not None:
                await device.replay
        for channel_id in self.model:
            for _ in range(2):
                try:
                    await self.owner.submit(channel_id, "a stranger", actions.Leave())
                except Refusal as refusal:
                    assert refusal.reason == "NOT_FOUND"

    @initialize()
    def make_channels(self) -> None:
        async def work() -> None:
            await self.owner.submit(GROUP, "ann", actions.CreateChannel(ChannelKind.GROUP, "first", ("bob", "cid")))
            await self.owner.submit(DIRECT, "bob", actions.CreateChannel(ChannelKind.DIRECT, "", ("ann",)))

        group, direct = self.model[GROUP], self.model[DIRECT]
        for user_id in ("ann", "bob", "cid"):
            group.enter(user_id, Role.OWNER if user_id == "ann" else Role.MEMBER, 1)
        group.log += [("membership", "ann"), ("title", "ann", "first")]
        for user_id in ("ann", "bob"):
            direct.enter(user_id, Role.MEMBER, 1)
        self.run(work())
        for name in DEVICES[:3]:
            self.connect(name)
        self.settle()

    # --- messages -----------------------------------------------------------------------------------------------------

    @rule(who=PICKS, channel_id=CHANNELS, times=st.integers(1, 5))
    def send(self, who: int, channel_id: str, times: int) -> None:
        for device in self.pick_online(who):
            for _ in range(times):
                number = self.number()
                message = actions.Send(f"m{number}", f"text {number}")
                self.resendable.append((device.user_id, channel_id, message))
                self.run(self.post(device, channel_id, message))

    @rule(ago=PICKS, times=st.integers(1, 3))
    def resend(self, ago: int, times: int) -> None:
        for user_id, channel_id, message in self.resendable[-1 - ago :][:times]:
            for device in filter(None, map(self.online, DEVICES)):
                if device.user_id == user_id:
                    self.run(self.post(device, channel_id, message))

    @rule(ago=PICKS)
    def say_something_else_under_the_same_name(self, ago: int) -> None:
        for user_id, channel_id, message in self.resendable[-1 - ago :][:1]:
            for device in filter(None, map(self.online, DEVICES)):
                if device.user_id == user_id:
                    self.run(self.post(device, channel_id, replace(message, text="another")))

    @rule(who=PICKS, channel_id=CHANNELS, deletes=st.booleans(), ago=PICKS)
    def change_own(self, who: int, channel_id: str, deletes: bool, ago: int) -> None:
        """Somebody edits or deletes a message of theirs."""
        for device in self.pick_online(who):
            device.read()
            copy = device.copies.get(channel_id, {})
            own = [seq for seq, entry in copy.items() if entry[:2] == ("message", device.user_id)]
            self.change(device, channel_id, own, deletes, ago)

    @rule(who=PICKS, channel_id=CHANNELS, deletes=st.booleans(), ago=PICKS)
    def change_any(self, who: int, channel_id: str, deletes: bool, ago: int) -> None:
        """Somebody tries to edit or delete whatever their device has."""
        for device in self.pick_online(who):
            device.read()
            self.change(device, channel_id, list(device.copies.get(channel_id, {})), deletes, ago)

    def change(self, device: Device, channel_id: str, seqs: list[int], deletes: bool, ago: int) -> None:
        for seq in seqs[-1 - ago % max(1, len(seqs)) :][:1]:
            action = actions.Delete(seq) if deletes else actions.Edit(seq, f"edited {self.number()}")
            self.run(self.post(device, channel_id, action))

    @rule(who=PICKS, channel_id=CHANNELS, ago=st.integers(-1, 5))
    def mark_read(self, who: int, channel_id: str, ago: int) -> None:
        """Somebody marks as read, a little beyond the head too."""
        for device in self.pick_online(who):
            seq = len(self.model[channel_id].log) - ago
            if seq > 0:
                self.run(self.post(device, channel_id, actions.MarkRead(seq)))

    # --- members ------------------------------------------------------------------------------------------------------

    @rule(
        actor=st.sampled_from(USERS),
        user_ids=st.lists(st.sampled_from(USERS), min_size=1, max_size=3),
        channel_id=CHANNELS,
    )
    def add(self, actor: str, user_ids: list[str], channel_id: str) -> None:
        self.run(self.call(actor, channel_id, actions.AddMembers(tuple(user_ids))))

    @rule(actor=st.sampled_from(USERS), user_id=st.sampled_from(USERS))
    def remove(self, actor: str, user_id: str) -> None:
        self.run(self.call(actor, GROUP, actions.RemoveMember(user_id)))

    @rule(actor=st.sampled_from(USERS), channel_id=CHANNELS)
    def leave(self, actor: str, channel_id: str) -> None:
        # Of an empty group nothing more can be seen.
        if channel_id == DIRECT or len(self.model[GROUP].roles) > 1:
            self.run(self.call(actor, channel_id, actions.Leave()))

    @rule(actor=st.sampled_from(USERS))
    def retitle(self, actor: str) -> None:
        self.run(self.call(actor, GROUP, actions.Retitle(f"title {self.number()}")))

    @rule(actor=st.sampled_from(USERS), user_id=st.sampled_from(USERS), role=st.sampled_from(Role))
    def change_role(self, actor: str, user_id: str, role: Role) -> None:
        self.run(self.call(actor, GROUP, actions.ChangeRole(user_id, role)))

    # --- streams ------------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(DEVICES))
    def connect(self, name: str) -> None:
        """A stream begins; one that the device has still is replaced, and what was on its way there is lost."""

        async def work() -> None:
            older = device.session
            await self.cut(device)
            identity = Identity(device.user_id, device.name, 1 << 62)
            device.session = Session(f"s{self.number()}", identity, SessionLimits(), lambda _: None)
            device.session.begin_replay()
            self.live.add(device.session)
            assert older is None or older.ended is not None
            device.may_replay.clear()
            device.replay = asyncio.create_task(replay(device.session))
            await asyncio.sleep(0)

        async def replay(session: Session) -> None:
            await device.may_replay.wait()
            await self.replayer.run(session, device.cursor, device.write)

        device = self.devices[name]
        self.run(work())

    @rule(name=st.sampled_from(DEVICES))
    def replay(self, name: str) -> None:
        """The replay begins: some of what it brings has come live meanwhile, and waits behind it."""

        async def work() -> None:
            self.devices[name].may_replay.set()
            await asyncio.sleep(0)

        self.run(work())

    @rule(name=st.sampled_from(DEVICES), reads=st.booleans())
    def drop(self, name: str, reads: bool) -> None:
        """A stream ends; what was on its way may have arrived or not."""

        async def work() -> None:
            if reads:
                device.read()
            session = device.session
            await self.cut(device)
            if session is not None:
                self.live.remove(session)
                session.close()

        device = self.devices[name]
        self.run(work())

    async def cut(self, device: Device) -> None:
        if device.replay is not None:
            device.replay.cancel()
            await asyncio.wait([device.replay])
        device.session = device.replay = None
        device.wire.clear()
        device.due.clear()

    @rule(name=st.sampled_from(DEVICES))
    def read(self, name: str) -> None:
        self.devices[name].read()

    @rule(name=st.sampled_from(DEVICES))
    def acknowledge(self, name: str) -> None:
        async def work(device: Device, session: Session) -> None:
            for channel_id, seq in session.unacknowledged.acknowledged(device.cursor).items():
                assert seq <= max(device.copies[channel_id])
                channel = await self.owner.channel(channel_id)
                assert channel is not None
                if channel.delivered(device.user_id, seq):
                    self.receipts.changed(channel, {device.user_id})

        device = self.online(name)
        if device is not None and device.session is not None:
            device.read()
            self.run(work(device, device.session))

    @rule(seconds=st.floats(-2, 2))
    def time_passes(self, seconds: float) -> None:
        """Or goes back."""
        self.clock.advance(seconds)

    @rule()
    def tell_receipts(self) -> None:
        self.run(self.receipts.flush(everything=True))

    @rule(come_back=st.booleans())
    def restart(self, come_back: bool) -> None:
        """The server stops and another one starts on the same storage."""

        async def work() -> None:
            await self.owner.close()
            await self.receipts.flush(everything=True)
            for device in self.devices.values():
                await self.cut(device)

        self.settle()
        self.run(work())
        self.start_server()
        if come_back:
            for name in DEVICES:
                self.connect(name)
            self.settle()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """When all is quiet, everybody has everything."""
        self.run(self.quiet())
        for expected, outcomes in self.answers:
            (outcome,) = outcomes
            assert expected == (outcome.reason if isinstance(outcome, Refusal) else outcome.seq)
        self.answers.clear()
        for channel_id, model in self.model.items():
            self.run(self.check_storage(channel_id, model))
        for device in self.devices.values():
            if device.session is not None:
                assert device.session.ended is None
                device.read()
                assert device.due == {}
                assert device.session.in_flight == 0
                for channel_id, model in self.model.items():
                    self.check_copy(device, channel_id, model)

    async def check_storage(self, channel_id: str, model: ModelChannel) -> None:
        stored = await self.history.entries(channel_id, [SeqRange(1)], PageRequest(limit=1_000_000))
        assert [each.seq for each in stored] == list(range(1, len(model.log) + 1))
        positions = [each.position for each in stored]
        assert positions == sorted(set(positions))
        for entry, expected in zip(stored, model.log, strict=True):
            self.check_entry(model, entry.seq, entry_of(chat_pb2.Event.FromString(entry.body)), expected, redacted=True)
        for user_id in USERS:
            assert list(await self.history.visible(channel_id, user_id)) == model.stays.get(user_id, [])
        snapshot = await self.log.load(channel_id)
        assert snapshot is not None
        assert {each.user_id: each.role for each in snapshot.members} == model.roles
        marks = {user_id: snapshot.marks.get(user_id, Marks()).read_seq for user_id in model.read}
        assert marks == model.read
        assert all(each.delivered_seq <= len(model.log) for each in snapshot.marks.values())

    def check_copy(self, device: Device, channel_id: str, model: ModelChannel) -> None:
        copy = device.copies.get(channel_id, {})
        assert list(copy) == model.sees(device.user_id)
        for seq, entry in copy.items():
            self.check_entry(model, seq, entry, model.log[seq - 1])

    def check_entry(
        self, model: ModelChannel, seq: int, entry: Entry | None, expected: Entry, redacted: bool = False
    ) -> None:
        """Equal, but for a text that is deleted: in the log it is gone, on a device it may have come before.

        So is the text of an edit after which there is another one; a group may keep it for those who have left.
        """
        assert entry is not None
        message = seq if expected[0] == "message" else int(expected[2]) if expected[0] == "edit" else 0
        is_edited_again = expected[0] == "edit" and seq < model.edited[message]
        is_gone = message in model.deleted or (is_edited_again and not model.is_group)
        if (redacted and is_gone) or ((is_gone or is_edited_again) and entry[-1] == ""):
            expected = (*expected[:-1], "")
        assert entry == expected

    def teardown(self) -> None:
        try:
            for name, device in self.devices.items():
                if device.session is None:
                    self.connect(name)
            self.settle()
        finally:
            self.run(self.stop())
            self.runner.close()
            self.folder.cleanup()

    async def stop(self) -> None:
        for device in self.devices.values():
            await self.cut(device)
        await self.owner.close()
        await self.database.close()


TestChannelMachine = ChannelMachine.TestCase
TestChannelMachine.settings = settings(
    max_examples=80,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
