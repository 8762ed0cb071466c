"""Channels that this server sequences: it numbers their events and commits them, a batch at a time.

A channel has one batch under way. Requests that come meanwhile wait and make the next batch, so that a busy channel
commits as often as the storage is ready for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from chat_server.channels.fanout import Fanout, Item
from chat_server.channels.first_results import FirstResult
from chat_server.channels.listener import SequencerListener
from chat_server.channels.lookups import begin_draft, read_first_results
from chat_server.channels.rules import Channel, Draft, carry_out
from tidings.core import actions
from tidings.core.actions import Accepted, Action
from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal, not_found, unavailable, without_message
from tidings.core.framing import frame
from tidings.core.ports import ChannelLog, ChannelWriter
from tidings.core.positions import Positions
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest, Outcome, ReplyTo
from tidings.core.values import AlreadySent, Appended, HeadMoved
from tidings.rpc.future_reply import FutureReply

_log = logging.getLogger(__name__)

_BATCH = 512
# A batch goes to a session in one frame, which has to stay well below what may wait for one (1 MiB) and what gRPC takes
# (4 MiB): a code point has up to four bytes.
_BATCH_CHARACTERS = 128 << 10
_ATTEMPTS = 8
_CHANNELS_KEPT = 20_000
# How many of those used longest ago are looked at to forget one.
_FORGET_TRIES = 16


@dataclass(slots=True)
class _Slot:
    """A channel's place in memory."""

    channel_id: str
    channel: Channel | None = None
    outdated: Channel | None = None
    """The copy before, when what it had was not written."""
    waiting: list[ChannelRequest] = field(default_factory=list)
    announced: int | None = None
    """Up to where this server has handed entries out, or found them in the log; None before it was loaded."""
    batch: Sequence[ChannelRequest] = ()
    """What is being written."""
    settled: asyncio.Future[None] | None = None
    """Done once that is written, or refused; None while nobody waits for it."""
    lookers: list[asyncio.Future[Channel | None]] = field(default_factory=list)
    """Who waits for the channel to be loaded."""
    released: bool = False
    """Whether it is to be forgotten once nobody uses it."""
    task: asyncio.Task[None] | None = None
    """The only one that loads and changes the channel."""


class Sequencer(ChannelWriter):
    """Carries requests out on the channels, and gives every message its seq.

    Args:
        log: Where batches are committed.
        fanout: Where committed entries go.
        positions: Numbers events.
        clock: Tells the time.
        listener: Is told of the rest.
        revoked: The devices that are signed out, each with the epoch up to which it is; their requests are refused.
    """

    def __init__(
        self,
        log: ChannelLog,
        fanout: Fanout,
        positions: Positions,
        clock: Clock,
        listener: SequencerListener | None = None,
        revoked: Mapping[str, int] | None = None,
    ) -> None:
        self._log = log
        self._fanout = fanout
        self._positions = positions
        self._clock = clock
        self._revoked = revoked if revoked is not None else {}
        self._listener = listener or SequencerListener()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._closed = False

    def __len__(self) -> int:
        """The number of channels in memory."""
        return len(self._slots)

    def post(self, request: ChannelRequest) -> None:
        """Take a request. The requests to one channel are carried out in this order."""
        slot = self._slot(request.channel_id)
        slot.waiting.append(request)
        self._start(slot)

    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        """See `ChannelWriter.submit`."""
        reply = FutureReply()
        self.post(ChannelRequest(channel_id, actor_id, action, reply))
        return await reply.accepted()

    async def refresh(self, channel_id: str) -> None:
        """See `ChannelWriter.refresh`."""
        # One that is being loaded or made just now may have read the storage before the change.
        if channel_id in self._slots and await self.channel(channel_id) is not None:
            snapshot = await self._log.load(channel_id)
            channel = self.loaded(channel_id)
            if snapshot is not None and channel is not None:
                channel.blocked = snapshot.blocked

    def loaded(self, channel_id: str) -> Channel | None:
        """The channel, if it is in memory."""
        slot = self._slots.get(channel_id)
        return slot.channel if slot is not None else None

    async def channel(self, channel_id: str) -> Channel | None:
        """The channel, to look at: loaded if it is not in memory; None when there is none."""
        channel = self.loaded(channel_id)
        if channel is not None:
            return channel
        slot = self._slot(channel_id)
        looker: asyncio.Future[Channel | None] = asyncio.get_running_loop().create_future()
        slot.lookers.append(looker)
        self._start(slot)
        return await looker

    async def close(self) -> None:
        """Refuse requests from now on, and wait for those under way."""
        self._closed = True
        tasks = [slot.task for slot in self._slots.values() if slot.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def settle(self, device_ids: Collection[str]) -> None:
        """Wait until nothing is being written that some devices have asked for."""
        waits = []
        for slot in self._slots.values():
            if any(each.identity is not None and each.identity.device_id in device_ids for each in slot.batch):
                slot.settled = slot.settled or asyncio.get_running_loop().create_future()
                waits.append(asyncio.shield(slot.settled))
        await asyncio.gather(*waits)

    def release(self, is_kept: Callable[[str], bool]) -> None:
        """Drop channels that this server no longer sequences, or that another one sequenced in between.

        A channel in use is dropped as soon as it is idle. A copy in memory would lack what the others have written.
        """
        for channel_id, slot in list(self._slots.items()):
            if is_kept(channel_id):
                continue
            if slot.task is None:
                del self._slots[channel_id]
            else:
                slot.released = True

    def _slot(self, channel_id: str) -> _Slot:
        slots = self._slots
        slot = slots.get(channel_id)
        if slot is None:
            if len(slots) >= _CHANNELS_KEPT:
                self._forget_one()
            slot = slots[channel_id] = _Slot(channel_id)
        else:
            slots.move_to_end(channel_id)
        return slot

    def _start(self, slot: _Slot) -> None:
        if slot.task is None:
            slot.task = asyncio.get_running_loop().create_task(self._work(slot))

    def _forget_one(self) -> None:
        slots = self._slots
        for _ in range(_FORGET_TRIES):
            channel_id, slot = next(iter(slots.items()))
            if slot.task is None and not self._listener.is_unsaved(channel_id):
                del slots[channel_id]
                return
            # In use after all. Out of the way with it, or the next one to look for space would pass it again.
            slots.move_to_end(channel_id)

    async def _work(self, slot: _Slot) -> None:
        try:
            while slot.waiting or slot.lookers:
                if slot.lookers:
                    await self._show(slot)
                if slot.waiting:
                    await self._log.ready()
                    slot.batch = batch = _take_batch(slot)
                    await self._carry_out(slot, batch)
                    slot.batch = ()
                    if slot.settled is not None:
                        slot.settled.set_result(None)
                        slot.settled = None
                if slot.outdated is not None and not slot.waiting:
                    # Marks that are not saved yet are in the outdated copy only.
                    await self._try_to_load(slot)
        finally:
            slot.task = None
            if slot.released or (slot.channel is None and slot.outdated is None):
                self._slots.pop(slot.channel_id, None)

    async def _show(self, slot: _Slot) -> None:
        lookers, slot.lookers = slot.lookers, []
        refusal = await self._try_to_load(slot)
        for looker in lookers:
            if looker.done():
                continue
            if refusal is None:
                looker.set_result(slot.channel)
            else:
                looker.set_exception(refusal)

    async def _try_to_load(self, slot: _Slot) -> Refusal | None:
        try:
            if slot.channel is None:
                await self._load(slot)
        except Refusal as refusal:
            return refusal
        except Exception as error:
            _log.error("channel %s cannot be loaded", slot.channel_id, exc_info=without_message(error))
            return _internal()
        return None

    async def _carry_out(self, slot: _Slot, batch: list[ChannelRequest]) -> None:
        if self._closed:
            self._refuse(batch, unavailable("the server is going away", Reason.DRAINING))
            return
        try:
            await self._commit(slot, batch)
        except Refusal as refusal:
            self._outdate(slot)
            self._refuse(batch, refusal)
        except Exception as error:
            _log.error("a batch of channel %s failed", slot.channel_id, exc_info=without_message(error))
            self._outdate(slot)
            self._refuse(batch, _internal())

    async def _commit(self, slot: _Slot, batch: list[ChannelRequest]) -> None:
        """Write a batch, loading the channel again when somebody else has written, and give everyone their outcome."""
        known: dict[tuple[str, str], FirstResult] = {}
        for _ in range(_ATTEMPTS):
            channel = await self._channel_for(slot, batch)
            if channel is None:
                raise not_found("channel", "channel_id")
            channel.remember(known)
            capacity = self._log.batch_capacity(channel.head_seq)
            if len(batch) > capacity:
                # Each makes one entry; only making a group makes two, and that begins a log.
                slot.waiting[:0] = batch[capacity:]
                del batch[capacity:]
            draft = await begin_draft(self._log, self._positions, channel, batch, self._clock.wall_ms())
            outcomes = [carry_out(channel, each, draft, self._revoked) for each in batch]
            written = draft.batch(slot.channel_id, is_awake=self._listener.is_awake(slot.channel_id))
            result = await self._log.append(written) if written is not None else Appended()
            match result:
                case Appended():
                    channel.written(draft)
                    slot.announced = channel.head_seq
                    # At once: were another channel's later event to overtake these, a device that got that one and not
                    # these before its stream broke would come back with a cursor beyond them.
                    self._announce(channel, draft, batch, outcomes)
                    await self._answer_reads(channel, draft, batch, outcomes)
                    if draft.created is not None or not (channel.members or channel.head_seq):
                        # Just made: whether one has blocked the other is for the storage to tell. Or not made at all.
                        self._outdate(slot)
                    return
                case AlreadySent():
                    known.update(await read_first_results(self._log, slot.channel_id, result))
                case HeadMoved():
                    _log.warning("channel %s was written by another server; loading it again", slot.channel_id)
            self._outdate(slot)
        raise unavailable("the channel changes hands", Reason.OWNER_CONTENDED)

    async def _channel_for(self, slot: _Slot, batch: Sequence[ChannelRequest]) -> Channel | None:
        if slot.channel is None:
            await self._load(slot)
        if slot.channel is None:
            create = next((each.action for each in batch if isinstance(each.action, actions.CreateChannel)), None)
            if create is not None:
                slot.channel = Channel.unborn(slot.channel_id, create.kind, self._clock.wall_ms())
        return slot.channel

    async def _load(self, slot: _Slot) -> None:
        snapshot = await self._log.load(slot.channel_id)
        if snapshot is not None:
            if slot.announced is not None and snapshot.head_seq > slot.announced:
                self._listener.found(slot.channel_id, slot.announced + 1)
            slot.announced = snapshot.head_seq
            slot.channel = Channel(snapshot)
            if slot.outdated is not None:
                slot.channel.take_over(slot.outdated)
        slot.outdated = None

    def _outdate(self, slot: _Slot) -> None:
        if slot.channel is not None:
            slot.channel, slot.outdated = None, slot.channel

    def _announce(
        self, channel: Channel, draft: Draft, batch: Sequence[ChannelRequest], outcomes: Sequence[Outcome]
    ) -> None:
        """Hand the new entries to the fan-out and give the outcomes, in the order of the log.

        Read marks get no outcome yet: they have to be saved first.
        """
        origins: dict[int, ReplyTo] = {}
        others: list[tuple[ChannelRequest, Outcome]] = []
        new = {entry.seq for segment in draft.segments for entry in segment.entries}
        for request, outcome in zip(batch, outcomes, strict=True):
            if _is_read(request, outcome):
                continue
            reply_to = request.reply_to
            in_log_order = reply_to.in_log_order and isinstance(outcome, Accepted) and outcome.seq in new
            if in_log_order and isinstance(outcome, Accepted) and outcome.seq not in origins:
                origins[outcome.seq] = reply_to
            else:
                others.append((request, outcome))
        for segment in draft.segments:
            if segment.entries:
                items = [
                    Item(
                        frame(entry.body),
                        entry.seq,
                        entry.position,
                        origins.get(entry.seq),
                        entry,
                        draft.created_at_ms,
                    )
                    for entry in segment.entries
                ]
                self._fanout.deliver(channel.channel_id, segment.audience, items)
        # After the entries: the result of a resend must not overtake an event before the one that it names.
        for request, outcome in others:
            request.reply_to.reply(outcome)
        if new:
            self._listener.written(channel, draft)

    async def _answer_reads(
        self, channel: Channel, draft: Draft, batch: Sequence[ChannelRequest], outcomes: Sequence[Outcome]
    ) -> None:
        """Save the read marks that have moved, and give their outcomes."""
        refusal: Refusal | None = None
        if draft.reads:
            try:
                await self._log.save_marks(channel.channel_id, self._positions.next(), channel.marks)
            except Refusal as failure:
                refusal = failure
            except Exception as error:
                _log.error(
                    "the read marks of channel %s cannot be saved", channel.channel_id, exc_info=without_message(error)
                )
                refusal = _internal()
            else:
                channel.reads_saved(draft)
                self._listener.marked(channel, set(draft.reads))
        for request, outcome in zip(batch, outcomes, strict=True):
            if _is_read(request, outcome):
                request.reply_to.reply(refusal or outcome)

    def _refuse(self, batch: Sequence[ChannelRequest], refusal: Refusal) -> None:
        for request in batch:
            request.reply_to.reply(refusal)


def _is_read(request: ChannelRequest, outcome: Outcome) -> bool:
    return isinstance(request.action, actions.MarkRead) and isinstance(outcome, Accepted)


def _internal() -> Refusal:
    return Refusal(Code.INTERNAL, "something went wrong on the server", Reason.INTERNAL)


def _take_batch(slot: _Slot) -> list[ChannelRequest]:
    """Take the requests of the next batch: at least one, if there is any."""
    waiting = slot.waiting
    count = characters = 0
    for request in waiting[:_BATCH]:
        action = request.action
        if isinstance(action, actions.Send | actions.Edit):
            characters += len(action.text)
        if count and characters > _BATCH_CHARACTERS:
            break
        count += 1
    slot.waiting = waiting[count:]
    return waiting[:count]
