"""Who is to be woken: after the delay, everyone whose devices have not acknowledged a message, and who has not read it.

The decision is made a channel at a time, not a message and a person at a time. Which channels wait for one is kept in
the storage, in the transaction that writes the message, so that a crash forgets nobody.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chat_server.channel import Channel, Draft
from tidings.core import positions
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import ContactStore, Directory, History, PendingPush, PushSink
from tidings.core.values import EntryKind, LogEntry, Marks, PushRequest, SeqRange
from tidings.v1 import chat_pb2

_log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at what is due."""

# Of a long absence only the latest messages are looked at: one push a channel goes out, for the latest of them.
_LATEST = 200
_PREVIEW_CHARACTERS = 256
_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PushPorts:
    """What a decision needs."""

    pending: PendingPush
    history: History
    directory: Directory
    contacts: ContactStore
    sink: PushSink


class Pushes:
    """The channels that wait for a decision."""

    def __init__(
        self, ports: PushPorts, clock: Clock, delay: float, channel: Callable[[str], Awaitable[Channel | None]]
    ) -> None:
        """Decides `delay` seconds after a message; `channel` gives a channel's state."""
        self._ports = ports
        self._clock = clock
        self._delay = delay
        self._channel = channel
        self._next_seq: dict[str, int] = {}
        self._due: list[tuple[float, str]] = []

    async def load(self) -> None:
        """Takes up what was undecided when the server stopped."""
        now = self._clock.monotonic()
        for channel_id, next_seq in (await self._ports.pending.channels()).items():
            self._next_seq[channel_id] = next_seq
            heapq.heappush(self._due, (now, channel_id))

    def is_awake(self, channel_id: str) -> bool:
        """Whether a decision about a channel is due at some time."""
        return channel_id in self._next_seq

    def written(self, channel: Channel, draft: Draft) -> None:
        """New entries are on stable storage."""
        if draft.has_message and channel.channel_id not in self._next_seq:
            self._next_seq[channel.channel_id] = draft.segments[0].entries[0].seq
            heapq.heappush(self._due, (self._clock.monotonic() + self._delay, channel.channel_id))

    async def decide(self) -> None:
        """Decides about every channel that is due."""
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            _, channel_id = heapq.heappop(self._due)
            try:
                again_in = await self._decide(channel_id)
            except Refusal as refusal:
                _log.warning("a decision about push waits: %s", refusal)
                again_in = _RETRY_SECONDS
            if again_in is not None:
                heapq.heappush(self._due, (self._clock.monotonic() + again_in, channel_id))

    async def _decide(self, channel_id: str) -> float | None:
        channel = await self._channel(channel_id)
        next_seq = self._next_seq[channel_id]
        if channel is None or all(_seen(channel, user_id) >= channel.head_seq for user_id in channel.members):
            return await self._sleep(channel_id)
        head = channel.head_seq
        entries = await self._ports.history.entries(channel_id, [SeqRange(next_seq, head)], 0, 0, _LATEST)
        old_enough = positions.at(self._clock.now_ms() - round(self._delay * 1000))
        due = [entry for entry in entries if entry.position <= old_enough]
        if due:
            requests = await self._requests(channel, due)
            if requests:
                await self._ports.sink.enqueue(requests)
            self._next_seq[channel_id] = due[-1].seq + 1
        if len(due) == len(entries) and channel.head_seq == head:
            return await self._sleep(channel_id)
        await self._ports.pending.decided(channel_id, self._next_seq[channel_id])
        waiting = next((entry for entry in entries if entry.position > old_enough), None)
        wait = self._delay if waiting is None else (positions.time_ms(waiting.position) - positions.time_ms(old_enough))
        # A busy channel is not decided about message by message.
        return max(self._delay / 5, wait / 1000 if waiting is not None else wait)

    async def _sleep(self, channel_id: str) -> None:
        # Forgotten before the storage is told: a batch that is written from now on wakes the channel again, and is
        # written after this.
        del self._next_seq[channel_id]
        await self._ports.pending.decided(channel_id, None)

    async def _requests(self, channel: Channel, due: Sequence[LogEntry]) -> list[PushRequest]:
        deleted = {entry.target_seq for entry in due if entry.kind is EntryKind.DELETION}
        messages = [each for each in due if each.kind is EntryKind.MESSAGE and each.seq not in deleted]
        latest: dict[str, LogEntry] = {}
        for user_id, member in channel.members.items():
            seen = max(_seen(channel, user_id), member.since_seq - 1)
            for message in reversed(messages):
                if message.seq <= seen:
                    break
                if message.author_id != user_id:
                    latest[user_id] = message
                    break
        muted = await self._ports.directory.muted_by(channel.channel_id, latest.keys()) if latest else ()
        requests = []
        for user_id, message in latest.items():
            if user_id in muted:
                continue
            if await self._ports.contacts.blocked_either_way(user_id, [message.author_id]):
                continue
            text = chat_pb2.Event.FromString(message.body).message.text
            requests.append(
                PushRequest(
                    user_id,
                    channel.channel_id,
                    message.seq,
                    message.author_id,
                    text[:_PREVIEW_CHARACTERS],
                    positions.time_ms(message.position),
                )
            )
        return requests


def _seen(channel: Channel, user_id: str) -> int:
    marks = channel.marks.get(user_id, Marks())
    return max(marks.delivered_seq, marks.read_seq)
