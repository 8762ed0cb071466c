"""The channels that this server owns, as sessions and other servers use them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from chat_server import pushes, receipts, wire
from chat_server.channel import Channel, Draft
from chat_server.live import Fanout, Item
from chat_server.owner import Owner, OwnerEvents
from chat_server.pushes import Pushes, PushPorts
from chat_server.receipts import Receipts
from chat_server.rounds import every
from chat_server.submission import Outcome, Submission
from tidings.core.actions import Accepted, Aside, ShowTyping
from tidings.core.clock import Clock
from tidings.core.errors import Refusal, not_found
from tidings.core.failures import without_message
from tidings.core.ports import ChannelLog
from tidings.core.positions import Positions
from tidings.core.values import EntryKind, LogEntry, SeqRange
from tidings.v1 import chat_pb2

_log = logging.getLogger(__name__)

# Of a channel that was busy when its owner died, the latest entries are enough: whoever lacks more finds a gap.
_AGAIN = 1_000
_RETRY_SECONDS = 1.0


class Channels(Protocol):
    """The way from a session to a channel, whoever owns it."""

    def post(self, channel_id: str, submission: Submission) -> None:
        """Asks something of a channel; what one session asks of one channel is done in this order."""

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """A member's device has received events."""

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """A member is typing, or stopped.

        Raises:
            Refusal: NOT_FOUND, where it is known here that they are no member.
        """


@dataclass(frozen=True, slots=True)
class OwnerPorts:
    """What an owner of channels stands on."""

    log: ChannelLog
    push: PushPorts


class OwnedChannels:
    """`Channels` at their owner, with all that an owner does for them: numbering, receipts, decisions about push."""

    def __init__(
        self,
        ports: OwnerPorts,
        fanout: Fanout,
        positions: Positions,
        clock: Clock,
        push_delay: float,
        *,
        is_mine: Callable[[str], bool] = lambda _: True,
        is_finished: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Owns channels from the first `change_hands` on; `run` does what has to be done from time to time.

        Args:
            ports: The engines.
            fanout: Where what is committed goes.
            positions: Numbers events.
            clock: Tells the time.
            push_delay: Seconds without an acknowledgement after which a push goes out.
            is_mine: Whether this server owns a channel.
            is_finished: Whether all of a channel that was handed to `fanout` has reached its members' inboxes.
        """
        self._ports = ports
        self._fanout = fanout
        self._is_mine = is_mine
        self.owner = Owner(
            ports.log,
            fanout,
            positions,
            clock,
            OwnerEvents(
                marked=self._marked,
                written=self._written,
                is_awake=lambda channel_id: self._pushes.is_awake(channel_id),
                is_unsaved=lambda channel_id: self._receipts.is_unsaved(channel_id),
                found=self._found,
            ),
        )
        self._receipts = Receipts(ports.log, fanout, positions, clock, self.owner.loaded)
        self._pushes = Pushes(
            ports.push,
            clock,
            push_delay,
            self.owner.channel,
            lambda channel_id: channel_id not in self._again and is_finished(channel_id),
        )
        self._under_way: set[asyncio.Task[None]] = set()
        # Channels of which entries are handed out again, with the first of them; kept until that is done.
        self._again: dict[str, int] = {}
        self._wake_again = asyncio.Event()
        self.messages_accepted = 0
        """Messages that have been committed here."""

    async def run(self) -> None:
        """Tells receipts and decides about pushes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(receipts.TICK, self._receipts.flush))
            group.create_task(every(pushes.TICK, self._pushes.decide))
            group.create_task(self._hand_out_again())

    async def close(self) -> None:
        """Finishes what is under way."""
        await self.owner.close()
        await self._receipts.flush(everything=True)

    async def change_hands(self, was_kept: Callable[[str], bool] = lambda _: True) -> None:
        """Lets go of the channels that others own now, and takes up what was left undone of those that are its own.

        Args:
            was_kept: Whether this server has owned a channel all the time since this was called last. Of the others a
                copy in memory may lack what somebody else has written.

        Raises:
            Refusal: The storage is away; to be called again.
        """
        self.owner.release(was_kept)
        self._receipts.release(was_kept)
        self._pushes.release(self._is_mine)
        for channel_id, next_seq in (await self._pushes.take_up(self._is_mine)).items():
            self._note_again(channel_id, next_seq)

    def _written(self, channel: Channel, draft: Draft) -> None:
        entries = (entry for segment in draft.segments for entry in segment.entries)
        self.messages_accepted += sum(entry.kind is EntryKind.MESSAGE for entry in entries)
        self._pushes.written(channel, draft)

    def _marked(self, channel: Channel, user_ids: set[str]) -> None:
        self._receipts.changed(channel, user_ids)
        self._pushes.read(channel, user_ids)

    def _found(self, channel_id: str, first_seq: int) -> None:
        self._note_again(channel_id, first_seq)
        self._later(self._pushes.found(channel_id, first_seq))

    def _note_again(self, channel_id: str, first_seq: int) -> None:
        self._again[channel_id] = min(first_seq, self._again.get(channel_id, first_seq))
        self._wake_again.set()

    async def _hand_out_again(self) -> None:
        """Hands out what the last owner may not have, until cancelled: those who have it drop it by its seq."""
        while True:
            await self._wake_again.wait()
            self._wake_again.clear()
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
        channel = await self.owner.channel(channel_id) if self._is_mine(channel_id) else None
        if channel is None:
            return
        entries = await self._ports.push.history.entries(channel_id, [SeqRange(first_seq)], 0, 0, _AGAIN)
        gone = {user_id: entry.seq for entry in entries for user_id in wire.gone(entry)}

        def audience(entry: LogEntry) -> frozenset[str]:
            here = {user_id for user_id, member in channel.members.items() if member.since_seq <= entry.seq}
            return frozenset(here.union(user_id for user_id, seq in gone.items() if entry.seq <= seq))

        for user_ids, group in itertools.groupby(entries, audience):
            items = [Item(wire.frame(entry.body), entry.seq, entry.position, entry=entry) for entry in group]
            self._fanout.deliver(channel_id, user_ids, items)

    def post(self, channel_id: str, submission: Submission) -> None:
        """See `Channels.post`."""
        self.owner.post(channel_id, submission)

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """See `Channels.received`."""
        channel = self.owner.loaded(channel_id)
        if channel is None:
            self._later(self._load_and_receive(channel_id, user_id, seq))
        elif channel.delivered(user_id, seq):
            self._receipts.changed(channel, {user_id})

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """See `Channels.typing`."""
        channel = await self.owner.channel(channel_id)
        if channel is None or user_id not in channel.members:
            raise not_found("channel", "set_typing.channel_id")
        if not channel.blocked:
            event = chat_pb2.Typing(channel_id=channel_id, user_id=user_id, typing=typing)
            others = [each for each in channel.members if each != user_id]
            self._fanout.send(others, wire.framed(chat_pb2.Event(typing=event)))

    def aside(self, channel_id: str, actor_id: str, aside: Aside, answer: Callable[[Outcome], None]) -> None:
        """Does what is in no log, and tells when it is done."""
        self._later(self._aside(channel_id, actor_id, aside, answer))

    async def _load_and_receive(self, channel_id: str, user_id: str, seq: int) -> None:
        channel = await self.owner.channel(channel_id)
        if channel is not None and channel.delivered(user_id, seq):
            self._receipts.changed(channel, {user_id})

    async def _aside(self, channel_id: str, actor_id: str, aside: Aside, answer: Callable[[Outcome], None]) -> None:
        try:
            if isinstance(aside, ShowTyping):
                await self.typing(channel_id, actor_id, aside.typing)
            else:
                await self.owner.refresh(channel_id)
        except Refusal as refusal:
            answer(refusal)
        else:
            answer(Accepted(channel_id, 0, 0))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(_without_refusal(work))
        # The loop itself holds its tasks weakly.
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _without_refusal(work: Coroutine[Any, Any, None]) -> None:
    # Nobody waits for it: what cannot be done now is lost, as a mark that the next one makes good for.
    try:
        await work
    except Refusal:
        return
