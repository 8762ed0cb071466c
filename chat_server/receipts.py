"""Receipts on their way to the members: several changes of a channel become one event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chat_server import wire
from chat_server.channel import Channel
from chat_server.live import Fanout
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
_RETRY_SECONDS = 1.0
# Channels whose receipts are saved at a time.
_TOGETHER = 64


class Receipts:
    """What has changed and was not told yet, and not saved unless a read mark moved."""

    def __init__(
        self,
        log: ChannelLog,
        fanout: Fanout,
        positions: Positions,
        clock: Clock,
        loaded: Callable[[str], Channel | None],
    ) -> None:
        """Saves to `log`, tells `fanout`; `loaded` gives a channel that is in memory."""
        self._log = log
        self._fanout = fanout
        self._positions = positions
        self._clock = clock
        self._loaded = loaded
        self._changed: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}

    def is_unsaved(self, channel_id: str) -> bool:
        """Whether changes of a channel still wait."""
        return channel_id in self._changed

    def changed(self, channel: Channel, user_ids: set[str]) -> None:
        """Marks of some members have moved."""
        waiting = self._changed.get(channel.channel_id)
        if waiting is None:
            self._changed[channel.channel_id] = set(user_ids)
            self._due[channel.channel_id] = self._due_of(channel)
        else:
            waiting |= user_ids

    async def flush(self, everything: bool = False) -> None:
        """Tells and saves what is due."""
        now = self._clock.monotonic()
        due = [key for key, due in self._due.items() if everything or due <= now]
        # Together, so that the storage can keep them together (SQLite: in one transaction; RECEIPTS_FIGURE).
        for first in range(0, len(due), _TOGETHER):
            await asyncio.gather(*map(self._flush, due[first : first + _TOGETHER]))

    async def _flush(self, channel_id: str) -> None:
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
                self._fanout.send(channel.members.keys(), wire.receipt(channel_id, marks))
            told = True
        except Refusal as refusal:
            _log.warning("receipts wait: %s", refusal)
        finally:
            if told and not self._changed[channel_id]:
                del self._changed[channel_id], self._due[channel_id]
            elif told:
                self._due[channel_id] = self._due_of(channel)
            else:
                self._changed[channel_id] |= user_ids
                self._due[channel_id] = self._clock.monotonic() + _RETRY_SECONDS

    def _due_of(self, channel: Channel) -> float:
        return self._clock.monotonic() + len(channel.members) * _SECONDS_A_MEMBER
