"""Receipts on their way to the members: several changes of a channel become one event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chat_server import events
from chat_server.channels.fanout import Fanout
from chat_server.channels.rules import Channel
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import ChannelLog
from tidings.core.positions import Positions
from tidings.core.values import Marks

_log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between two looks at what has changed."""

# A group of 100 whose members all acknowledge would make 10,000 deliveries of every round: the larger the channel, the
# longer its receipts gather. A tenth of a second for two, a second for a hundred.
_SECONDS_A_MEMBER = 0.01
# Told at once when a channel is quiet. While it is busy, each time costs a write to the storage and an event for every
# member, and the marks of the next moment are as good. Fifty busy pairs: a third of the writes and of the events.
_REST_SECONDS = 1.0
_RETRY_SECONDS = 1.0
# Channels whose receipts are saved at a time.
_TOGETHER = 64


class Receipts:
    """Marks that have changed since they were sent last. Only those of a read mark are saved already.

    Args:
        log: Where marks are saved.
        fanout: Where receipts go.
        positions: Numbers the changes.
        clock: Tells when receipts are due.
        loaded: Gives a channel that is in memory.
    """

    def __init__(
        self,
        log: ChannelLog,
        fanout: Fanout,
        positions: Positions,
        clock: Clock,
        loaded: Callable[[str], Channel | None],
    ) -> None:
        self._log = log
        self._fanout = fanout
        self._positions = positions
        self._clock = clock
        self._loaded = loaded
        self._changed: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}
        # By channel, those that rest the longest first: until when.
        self._rests: dict[str, float] = {}

    def is_unsaved(self, channel_id: str) -> bool:
        """Whether changes of a channel wait to be saved."""
        return channel_id in self._changed

    def changed(self, channel: Channel, user_ids: set[str]) -> None:
        """Note that the marks of some members have moved."""
        waiting = self._changed.get(channel.channel_id)
        if waiting is None:
            self._changed[channel.channel_id] = set(user_ids)
            self._due[channel.channel_id] = self._due_of(channel)
        else:
            waiting |= user_ids

    def release(self, is_kept: Callable[[str], bool]) -> None:
        """Forget the unsaved marks of channels that other servers sequence now; devices tell the new sequencer.

        These are delivered marks only. Saving them now might take back marks that the new sequencer has saved.
        """
        for channel_id in [key for key in self._changed if not is_kept(key)]:
            del self._changed[channel_id], self._due[channel_id]

    async def flush(self, everything: bool = False) -> None:
        """Save and send the receipts that are due."""
        now = self._clock.monotonic()
        while self._rests and next(iter(self._rests.values())) <= now:
            del self._rests[next(iter(self._rests))]
        due = [key for key, due in self._due.items() if everything or due <= now]
        # Together, so that the storage can keep them together. SQLite: in one transaction, which at 100 messages/s is a
        # quarter less CPU a message.
        for first in range(0, len(due), _TOGETHER):
            await asyncio.gather(*map(self._flush, due[first : first + _TOGETHER]))

    async def _flush(self, channel_id: str) -> None:
        """Save and send the receipts of one channel; when that fails, try again later."""
        channel = self._loaded(channel_id)
        user_ids = self._changed.get(channel_id)
        # Without a channel, its copy in memory was thrown away: the next copy takes the marks over.
        if channel is None or not user_ids:
            return
        # What changes while these are being saved gathers for the next time.
        self._changed[channel_id] = set()
        told = False
        try:
            marks = {each: channel.marks.get(each, Marks()) for each in user_ids if each in channel.members}
            if marks:
                await self._log.save_marks(channel_id, self._positions.next(), channel.marks)
                self._fanout.send(channel.members.keys(), events.receipt(channel_id, marks))
                self._rests.pop(channel_id, None)
                self._rests[channel_id] = self._clock.monotonic() + _REST_SECONDS
            told = True
        except Refusal as refusal:
            _log.warning("receipts wait: %s", refusal)
        finally:
            if channel_id not in self._changed:
                # Released meanwhile.
                pass
            elif told and not self._changed[channel_id]:
                del self._changed[channel_id], self._due[channel_id]
            elif told:
                self._due[channel_id] = self._due_of(channel)
            else:
                self._changed[channel_id] |= user_ids
                self._due[channel_id] = self._clock.monotonic() + _RETRY_SECONDS

    def _due_of(self, channel: Channel) -> float:
        gathered = self._clock.monotonic() + len(channel.members) * _SECONDS_A_MEMBER
        return max(gathered, self._rests.get(channel.channel_id, 0.0))
