"""The channels that this server sequences, as sessions and other servers use them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from chat_server import events
from chat_server.channels import push_decider, receipts
from chat_server.channels.fanout import Fanout, Item
from chat_server.channels.listener import SequencerListener
from chat_server.channels.push_decider import DecisionPorts, PushDecider
from chat_server.channels.receipts import Receipts
from chat_server.channels.rules import Channel, Draft
from chat_server.channels.sequencer import Sequencer
from tidings.core.actions import Accepted, ShowTyping
from tidings.core.clock import Clock
from tidings.core.errors import Refusal, not_found, without_message
from tidings.core.framing import frame
from tidings.core.ports import ChannelLog, History, PageRequest
from tidings.core.positions import Positions
from tidings.core.requests import ChannelRequest
from tidings.core.values import EntryKind, LogEntry, SeqRange
from tidings.rpc.tasks import TaskSet, periodic, whenever
from tidings.v1 import chat_pb2

_log = logging.getLogger(__name__)

# Of a channel that was busy when its sequencer died, the latest entries are enough: whoever lacks more finds a gap.
_AGAIN = 1_000
_RETRY_SECONDS = 1.0


class Channels(Protocol):
    """The way from a session to a channel, whichever server sequences it."""

    def post(self, request: ChannelRequest) -> None:
        """Send a request. The requests of one session to one channel are carried out in this order."""

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """Note that a member's device has received events."""

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """Show that a member is typing, or stopped.

        Raises:
            Refusal: NOT_FOUND, where it is known here that they are no member.
        """

    async def settle(self, device_ids: Collection[str]) -> None:
        """Wait until nothing is being written here that some devices have asked for."""


@dataclass(frozen=True, slots=True)
class ChannelPorts:
    """The engines that a server needs for the channels that it sequences."""

    log: ChannelLog
    history: History
    decision: DecisionPorts


class LocalChannels(SequencerListener):
    """`Channels` that this server sequences, with all that belongs to them: numbering, receipts, decisions about push.

    It sequences from the first `change_hands` on; `run` does what has to be done from time to time.

    Args:
        ports: The engines.
        fanout: Where committed entries go.
        positions: Numbers events.
        clock: Tells the time.
        push_delay: Seconds without an acknowledgement after which a push goes out.
        revoked: The devices that are signed out; see `Sequencer`.
        is_mine: Whether this server sequences a channel.
        is_finished: Whether all entries of a channel that were handed to `fanout` have reached its members' inboxes.
    """

    def __init__(
        self,
        ports: ChannelPorts,
        fanout: Fanout,
        positions: Positions,
        clock: Clock,
        push_delay: float,
        *,
        revoked: Mapping[str, int] | None = None,
        is_mine: Callable[[str], bool] = lambda _: True,
        is_finished: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._history = ports.history
        self._fanout = fanout
        self._is_mine = is_mine
        self.sequencer = Sequencer(ports.log, fanout, positions, clock, self, revoked)
        self._receipts = Receipts(ports.log, fanout, positions, clock, self.sequencer.loaded)
        self._decider = PushDecider(
            ports.history,
            ports.decision,
            clock,
            push_delay,
            self.sequencer.channel,
            lambda channel_id: channel_id not in self._again and is_finished(channel_id),
        )
        self._beside = TaskSet()
        # Channels of which entries are handed out again, with the first of them; kept until that is done.
        self._again: dict[str, int] = {}
        self._wake_again = asyncio.Event()
        self.messages_accepted = 0
        """Messages that have been committed here."""

    async def run(self) -> None:
        """Send receipts and decide about pushes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(periodic(receipts.TICK, self._receipts.flush))
            group.create_task(periodic(push_decider.TICK, self._decider.decide))
            group.create_task(whenever(self._wake_again, self._hand_out_again, _RETRY_SECONDS))

    async def close(self) -> None:
        """Finish what is under way."""
        await self.sequencer.close()
        await self._receipts.flush(everything=True)

    async def change_hands(self, was_kept: Callable[[str], bool] = lambda _: True) -> None:
        """Drop the channels that others sequence now, and take up what was left undone of this server's own.

        Args:
            was_kept: Whether this server has sequenced a channel all the time since this was called last. A copy in
                memory of any other channel may lack what somebody else has written.

        Raises:
            Refusal: The storage is away; to be called again.
        """
        self.sequencer.release(was_kept)
        self._receipts.release(was_kept)
        self._decider.release(self._is_mine)
        for channel_id, next_seq in (await self._decider.take_up(self._is_mine)).items():
            self._note_again(channel_id, next_seq)

    # --- what the sequencer tells -------------------------------------------------------------------------------------

    def written(self, channel: Channel, draft: Draft) -> None:
        """See `SequencerListener.written`."""
        entries = (entry for segment in draft.segments for entry in segment.entries)
        self.messages_accepted += sum(entry.kind is EntryKind.MESSAGE for entry in entries)
        self._decider.written(channel, draft)

    def marked(self, channel: Channel, user_ids: set[str]) -> None:
        """See `SequencerListener.marked`."""
        self._receipts.changed(channel, user_ids)
        self._decider.read(channel, user_ids)

    def is_awake(self, channel_id: str) -> bool:
        """See `SequencerListener.is_awake`."""
        return self._decider.is_awake(channel_id)

    def is_unsaved(self, channel_id: str) -> bool:
        """See `SequencerListener.is_unsaved`."""
        return self._receipts.is_unsaved(channel_id)

    def found(self, channel_id: str, first_seq: int) -> None:
        """See `SequencerListener.found`."""
        self._note_again(channel_id, first_seq)
        self._beside.start(self._decider.found(channel_id, first_seq))

    def _note_again(self, channel_id: str, first_seq: int) -> None:
        self._again[channel_id] = min(first_seq, self._again.get(channel_id, first_seq))
        self._wake_again.set()

    async def _hand_out_again(self) -> None:
        """Hand out what the last sequencer may not have handed out. Devices that have it drop it by its seq."""
        for channel_id, first_seq in list(self._again.items()):
            try:
                await self._hand_out(channel_id, first_seq)
            except Refusal as refusal:
                _log.warning("channel %s waits to be handed out again: %s", channel_id, refusal)
                self._wake_again.set()
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:
                _log.error("channel %s is not handed out again", channel_id, exc_info=without_message(error))
                del self._again[channel_id]
            else:
                if self._again[channel_id] == first_seq:
                    del self._again[channel_id]

    async def _hand_out(self, channel_id: str, first_seq: int) -> None:
        channel = await self.sequencer.channel(channel_id) if self._is_mine(channel_id) else None
        if channel is None:
            return
        entries = await self._history.entries(channel_id, [SeqRange(first_seq)], PageRequest(limit=_AGAIN))
        gone = {user_id: entry.seq for entry in entries for user_id in events.gone(entry)}

        def audience(entry: LogEntry) -> frozenset[str]:
            here = {user_id for user_id, member in channel.members.items() if member.since_seq <= entry.seq}
            return frozenset(here.union(user_id for user_id, seq in gone.items() if entry.seq <= seq))

        for user_ids, group in itertools.groupby(entries, audience):
            items = [Item(frame(entry.body), entry.seq, entry.position, entry=entry) for entry in group]
            self._fanout.deliver(channel_id, user_ids, items)

    # --- what sessions and other servers ask --------------------------------------------------------------------------

    def post(self, request: ChannelRequest) -> None:
        """See `Channels.post`."""
        self.sequencer.post(request)

    async def settle(self, device_ids: Collection[str]) -> None:
        """See `Channels.settle`."""
        await self.sequencer.settle(device_ids)

    def aside(self, request: ChannelRequest) -> None:
        """Carry out a request of another server whose action is in no log."""
        self._beside.start(self._aside(request))

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """See `Channels.received`."""
        channel = self.sequencer.loaded(channel_id)
        if channel is None:
            self._beside.start(self._load_and_receive(channel_id, user_id, seq))
        elif channel.delivered(user_id, seq):
            self._receipts.changed(channel, {user_id})

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """See `Channels.typing`."""
        channel = await self.sequencer.channel(channel_id)
        if channel is None or user_id not in channel.members:
            raise not_found("channel", "set_typing.channel_id")
        if not channel.blocked:
            event = chat_pb2.Typing(channel_id=channel_id, user_id=user_id, typing=typing)
            others = [each for each in channel.members if each != user_id]
            self._fanout.send(others, events.framed(chat_pb2.Event(typing=event)))

    async def _load_and_receive(self, channel_id: str, user_id: str, seq: int) -> None:
        channel = await self.sequencer.channel(channel_id)
        if channel is not None and channel.delivered(user_id, seq):
            self._receipts.changed(channel, {user_id})

    async def _aside(self, request: ChannelRequest) -> None:
        channel_id, action = request.channel_id, request.action
        try:
            if isinstance(action, ShowTyping):
                await self.typing(channel_id, request.actor_id, action.typing)
            else:
                await self.sequencer.refresh(channel_id)
        except Refusal as refusal:
            request.reply_to.reply(refusal)
        else:
            request.reply_to.reply(Accepted(channel_id, 0, 0))
