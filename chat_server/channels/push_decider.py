"""Whom a message wakes: after a delay, everyone whose devices have neither acknowledged nor read it.

A decision is made for a channel at a time, not for a message and a person. The storage keeps which channels wait for
one, written in the transaction of the message or before it, so that a crash forgets nobody.

When somebody reads after a push, the pushes that still wait for them are taken back, and their other devices stop
counting the messages. Who was woken is kept in memory only; the notifier looks again before it sends.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chat_server.channels.rules import Channel, Draft
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.limits import PUSH_PREVIEW_CHARACTERS
from tidings.core.ports import ContactStore, History, Memberships, PageRequest, PendingPush, PushSink
from tidings.core.values import EntryKind, Marks, MessageRow, PushRead, PushRequest, SeqRange
from tidings.v1 import chat_pb2

_log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at what is due."""

# Of a long absence only the latest messages are looked at: one push a channel goes out, for the latest of them.
_LATEST = 200
_RETRY_SECONDS = 5.0
# Decisions under way at a time: they wait for the storage, which answers many as fast as one.
_TOGETHER = 64
# People who were woken and have not read, as far as remembered: those woken longest ago are forgotten first.
_WOKEN_KEPT = 100_000
# A busy channel is decided about this often within the delay, not message by message.
_STEPS = 5


@dataclass(frozen=True, slots=True)
class DecisionPorts:
    """The engines that a decision needs, besides the history."""

    pending: PendingPush
    memberships: Memberships
    contacts: ContactStore
    sink: PushSink


@dataclass(slots=True)
class _Mark:
    """Everything up to `seq` was written between `since` and `until`, or before."""

    since: float
    until: float
    seq: int


@dataclass(slots=True)
class _Waiting:
    """A channel with entries without a decision, from `next_seq` on."""

    next_seq: int
    marks: list[_Mark] = field(default_factory=list)

    def note(self, now: float, seq: int, step: float) -> None:
        """Note that the entry `seq` was written; the entries of one step make one mark."""
        last = self.marks[-1] if self.marks else None
        if last is not None and now - last.since < step:
            last.until, last.seq = now, seq
        else:
            self.marks.append(_Mark(now, now, seq))

    def due(self, written_until: float) -> int:
        """The last entry that was written by a moment; below `next_seq` when there is none."""
        return max((mark.seq for mark in self.marks if mark.until <= written_until), default=0)

    def decided(self, upto: int) -> None:
        """Drop the marks up to an entry that was decided about."""
        self.next_seq = upto + 1
        self.marks = [mark for mark in self.marks if mark.seq > upto]


class PushDecider:
    """Decides about the channels that wait for a decision.

    Args:
        history: Has the messages.
        ports: The other engines.
        clock: Gives monotonic seconds.
        delay: Seconds from a message to its decision. In a busy channel it may become longer by a fifth.
        channel: Gives a channel's state; without suspending when it is in memory.
        is_handed_out: Whether all entries of a channel have reached its members' inboxes. Until then the channel stays
            marked in the storage, so that another server finishes that should this one die.
    """

    def __init__(
        self,
        history: History,
        ports: DecisionPorts,
        clock: Clock,
        delay: float,
        channel: Callable[[str], Awaitable[Channel | None]],
        is_handed_out: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._history = history
        self._ports = ports
        self._clock = clock
        self._delay = delay
        self._step = delay / _STEPS
        self._channel = channel
        self._is_handed_out = is_handed_out
        self._waiting: dict[str, _Waiting] = {}
        self._due: list[tuple[float, str]] = []
        self._woken: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._reads: dict[tuple[str, str], int] = {}

    async def take_up(self, is_mine: Callable[[str], bool]) -> Mapping[str, int]:
        """Take up the channels that this server left undecided when it stopped, or their last sequencer did.

        The delay begins again, so that the devices that lost their streams with the server have time to come back.

        Args:
            is_mine: Whether this server decides about a channel.

        Returns:
            The channels in which something may be unfinished, with the first seq of it.
        """
        taken: dict[str, int] = {}
        for channel_id, next_seq in (await self._ports.pending.channels()).items():
            if not is_mine(channel_id):
                continue
            waiting = self._waiting.get(channel_id)
            # There already is one when the channel was written to before this.
            if waiting is None or next_seq < waiting.next_seq:
                taken[channel_id] = next_seq
            await self.found(channel_id, next_seq)
        return taken

    async def found(self, channel_id: str, first_seq: int) -> None:
        """Take up entries from `first_seq` on, which are in the log without this server having been told."""
        waiting = self._waiting.get(channel_id)
        if waiting is None:
            waiting = self._waiting[channel_id] = _Waiting(first_seq)
            heapq.heappush(self._due, (self._clock.monotonic() + self._delay, channel_id))
        waiting.next_seq = min(waiting.next_seq, first_seq)
        await self._note_stored(channel_id, waiting)

    def release(self, is_mine: Callable[[str], bool]) -> None:
        """Forget the channels that other servers sequence now."""
        self._waiting = {key: waiting for key, waiting in self._waiting.items() if is_mine(key)}
        self._woken = OrderedDict((key, seq) for key, seq in self._woken.items() if is_mine(key[0]))

    def is_awake(self, channel_id: str) -> bool:
        """Whether a channel waits for a decision."""
        return channel_id in self._waiting

    def written(self, channel: Channel, draft: Draft) -> None:
        """Note new entries on stable storage, up to the channel's head."""
        waiting = self._waiting.get(channel.channel_id)
        now = self._clock.monotonic()
        if waiting is None:
            waiting = self._waiting[channel.channel_id] = _Waiting(draft.segments[0].entries[0].seq)
            heapq.heappush(self._due, (now + self._delay, channel.channel_id))
        waiting.note(now, channel.head_seq, self._step)

    def read(self, channel: Channel, user_ids: Iterable[str]) -> None:
        """Note that the read marks of some members have moved."""
        for user_id in user_ids:
            key = channel.channel_id, user_id
            read_seq = channel.marks.get(user_id, Marks()).read_seq
            if key in self._woken and read_seq >= self._woken[key]:
                del self._woken[key]
                self._reads[key] = read_seq

    async def decide(self) -> None:
        """Decide about every channel that is due, and report who has read after a push."""
        await self._tell_reads()
        now = self._clock.monotonic()
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[1])
        for first in range(0, len(due), _TOGETHER):
            await asyncio.gather(*map(self._decide_or_retry, due[first : first + _TOGETHER]))

    async def _tell_reads(self) -> None:
        if not self._reads:
            return
        reads, self._reads = self._reads, {}
        try:
            await self._ports.sink.cancel(
                [PushRead(user_id, channel_id, seq) for (channel_id, user_id), seq in reads.items()]
            )
        except Refusal as refusal:
            _log.warning("what has been read is not told to the notifier yet: %s", refusal)
            # Unless they have read on meanwhile.
            self._reads = reads | self._reads

    async def _decide_or_retry(self, channel_id: str) -> None:
        waiting = self._waiting.get(channel_id)
        if waiting is None:
            return
        try:
            again_in = await self._decide(channel_id, waiting)
        except Refusal as refusal:
            _log.warning("a decision about push waits: %s", refusal)
            again_in = _RETRY_SECONDS
        except Exception as error:
            # What the exception says may hold a text; and one channel must not keep the others from being decided.
            _log.error("a decision about push failed in channel %s: %s", channel_id, type(error).__name__)
            again_in = _RETRY_SECONDS
        if self._waiting.get(channel_id) is waiting:
            heapq.heappush(self._due, (self._clock.monotonic() + again_in, channel_id))

    async def _decide(self, channel_id: str, waiting: _Waiting) -> float:
        """Decide about the entries that are due; return the seconds until the next decision, should one be needed."""
        if not self._is_handed_out(channel_id):
            return self._step
        channel = await self._channel(channel_id)
        if channel is None or all(_seen(channel, user_id) >= channel.head_seq for user_id in channel.members):
            return await self._sleep(channel_id, waiting)
        upto = waiting.due(self._clock.monotonic() - self._delay)
        if upto >= waiting.next_seq:
            requests = await self._requests(channel, waiting.next_seq, upto)
            if requests:
                await self._ports.sink.enqueue(requests)
                self._note_woken(channel, requests)
            waiting.decided(upto)
            # Looked at again: meanwhile the channel may have moved on, or have been loaded anew.
            channel = await self._channel(channel_id)
        # The head counts what is on its way to the storage too. That was not told to wake the channel, so it must not
        # find it asleep.
        if channel is None or channel.head_seq < waiting.next_seq:
            return await self._sleep(channel_id, waiting)
        await self._ports.pending.decided(channel_id, waiting.next_seq)
        await self._note_stored(channel_id, waiting)
        if not waiting.marks:
            return self._step
        return max(0.0, waiting.marks[0].until + self._delay - self._clock.monotonic())

    def _note_woken(self, channel: Channel, requests: Sequence[PushRequest]) -> None:
        for request in requests:
            key = request.channel_id, request.user_id
            self._woken[key] = request.seq
            self._woken.move_to_end(key)
        while len(self._woken) > _WOKEN_KEPT:
            self._woken.popitem(last=False)
        # Who has read while that was being kept has been told of before there was anything to take back.
        self.read(channel, [request.user_id for request in requests])

    async def _note_stored(self, channel_id: str, waiting: _Waiting) -> None:
        # For what was written while nobody was there to be told.
        if not waiting.marks:
            last = await self._history.entries(channel_id, [SeqRange(waiting.next_seq)], PageRequest(limit=1))
            if last and not waiting.marks:
                waiting.note(self._clock.monotonic(), last[0].seq, self._step)

    async def _sleep(self, channel_id: str, waiting: _Waiting) -> float:
        # Forgotten before the storage is told: a batch that is written from now on wakes the channel again, and is
        # written after this.
        del self._waiting[channel_id]
        try:
            await self._ports.pending.decided(channel_id, None)
        except Exception:
            self._waiting.setdefault(channel_id, waiting)
            raise
        return self._step

    async def _requests(self, channel: Channel, first: int, upto: int) -> list[PushRequest]:
        """Choose the people to wake, and for each the latest message that they may see and have not seen."""
        # The range has no end, so that what was changed or deleted since is known.
        rows = await self._history.messages(
            channel.channel_id, [SeqRange(first)], PageRequest(before_seq=upto + 1, limit=_LATEST)
        )
        messages = [row for row in reversed(rows) if not _is_deleted(row)]
        unseen = {
            user_id: _unseen(messages, user_id, max(_seen(channel, user_id), member.since_seq - 1))
            for user_id, member in channel.members.items()
        }
        latest = _advance(unseen, unseen)
        if not latest:
            return []
        for user_id in await self._ports.memberships.muted_by(channel.channel_id, latest.keys()):
            del latest[user_id]
        requests = []
        while latest:
            by_author: defaultdict[str, list[str]] = defaultdict(list)
            for user_id, row in latest.items():
                by_author[row.message.author_id].append(user_id)
            hidden: list[str] = []
            for author_id, user_ids in by_author.items():
                apart = await self._ports.contacts.blocked_either_way(author_id, user_ids)
                hidden += apart
                requests += [
                    _request(channel.channel_id, user_id, latest[user_id])
                    for user_id in user_ids
                    if user_id not in apart
                ]
            # Behind the message of somebody blocked there may be one of somebody else.
            latest = _advance(unseen, hidden)
        return requests


def _seen(channel: Channel, user_id: str) -> int:
    marks = channel.marks.get(user_id, Marks())
    return max(marks.delivered_seq, marks.read_seq)


def _is_deleted(row: MessageRow) -> bool:
    return row.latest_change is not None and row.latest_change.kind is EntryKind.DELETION


def _unseen(messages: Sequence[MessageRow], user_id: str, seen: int) -> Iterator[MessageRow]:
    """Give the messages of others beyond `seen`, in the order of `messages`: the latest first."""
    for row in messages:
        if row.message.seq <= seen:
            return
        if row.message.author_id != user_id:
            yield row


def _advance(unseen: dict[str, Iterator[MessageRow]], user_ids: Iterable[str]) -> dict[str, MessageRow]:
    """Take the next message of each of these people who has one."""
    found = ((user_id, next(unseen[user_id], None)) for user_id in user_ids)
    return {user_id: row for user_id, row in found if row is not None}


def _request(channel_id: str, user_id: str, row: MessageRow) -> PushRequest:
    message, change = row.message, row.latest_change
    written = chat_pb2.Event.FromString(message.body).message
    text = written.text if change is None else chat_pb2.Event.FromString(change.body).message_edited.text
    return PushRequest(
        user_id,
        channel_id,
        message.seq,
        message.author_id,
        text[:PUSH_PREVIEW_CHARACTERS],
        written.created_at.ToMilliseconds(),
    )
