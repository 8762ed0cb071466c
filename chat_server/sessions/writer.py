"""Writing to the streams: a quiet stream at once, a busy one a little later, with all that has gathered.

Pacing is worth more than every other trick together: a write costs about the same whether it carries one event or fifty
(bare relay, group of 100: 48 to 53 us a delivery written at once, 10 to 13 us paced).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic

from grpc import aio

from chat_server.sessions.session import Session

LONGEST = 0.02
"""Seconds within which a stream is not written to twice, however many there are."""
A_WRITER = 0.00005
"""Seconds that each stream that is written to adds to the interval, about what a write costs. Few streams need not wait
for what they would hardly save: a pair is written to at once, a group of ten after half a millisecond, a group of a
hundred after five. Against five for everyone: twice the deliveries in a group of 10, a third more in a group of 100."""

# A timer that is due sooner is rounded to at once or to this by the event loop.
_SHORTEST_TIMER = 0.001

Write = Callable[[bytes], Awaitable[object]]


class Pacer:
    """Starts the writers of busy streams when their time has come: one timer for all of them.

    Args:
        longest: The longest interval between two writes to a stream, in seconds.
        a_writer: Seconds that each stream written to of late adds to the interval.
    """

    def __init__(self, longest: float = LONGEST, a_writer: float = A_WRITER) -> None:
        self.interval = 0.0
        """Seconds within which a stream is not written to twice, as things stand."""
        self._longest = longest
        self._a_writer = a_writer
        self._due: deque[tuple[float, Writer, Session]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # What is written is counted over rounds of the longest interval.
        self._round = 0
        self._round_ends = 0.0
        self._writers = 0

    def later(self, writer: Writer, session: Session) -> None:
        """Start a writer once the interval has passed since its last write."""
        self._due.append((session.last_write, writer, session))
        if self._timer is None:
            self._set_timer()

    def count(self, last_round: int, now: float) -> int:
        """Count a stream that is written to now.

        Args:
            last_round: The result of this method at the stream's last write.
            now: Monotonic seconds.

        Returns:
            The round that it was counted in.
        """
        if now >= self._round_ends:
            # The round before decides until as many have written in this one, unless it was long ago.
            self.interval = self._interval() if now < self._round_ends + self._longest else 0.0
            self._round += 1
            self._round_ends = now + self._longest
            self._writers = 0
        if last_round != self._round:
            self._writers += 1
            self.interval = max(self.interval, self._interval())
        return self._round

    def _interval(self) -> float:
        return min(self._longest, self._writers * self._a_writer)

    def _set_timer(self) -> None:
        delay = self._due[0][0] + self.interval - monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(delay, _SHORTEST_TIMER), self._fire)

    def _fire(self) -> None:
        # Those who are due within a fifth of the interval go now: a timer for each would cost more than it gives. Who
        # stands behind a stream that was written to later waits as long as that one, so no longer than the interval.
        latest = monotonic() - self.interval * 4 / 5
        waiting = self._due
        while waiting and waiting[0][0] <= latest:
            _, writer, session = waiting.popleft()
            writer.start(session)
        self._timer = None
        if waiting:
            self._set_timer()


class Writer:
    """Writes the outbox of a session to its stream.

    Args:
        pacer: Says when.
        write: Writes a frame; one at a time.
    """

    __slots__ = ("_pacer", "_round", "_task", "_write")

    def __init__(self, pacer: Pacer, write: Write) -> None:
        self._pacer = pacer
        self._write = write
        self._round = 0
        # A task that nobody holds may be collected before it is done.
        self._task: asyncio.Task[None] | None = None

    def wake(self, session: Session) -> None:
        """Write something that begins to wait while no write is under way or scheduled: now, or when the pacer says."""
        session.writing = True
        if monotonic() - session.last_write >= self._pacer.interval:
            self.start(session)
        else:
            self._pacer.later(self, session)

    def start(self, session: Session) -> None:
        """Write now."""
        self._task = asyncio.get_running_loop().create_task(self._flush(session))

    def close(self) -> None:
        """Stop waiting for a write, which would hold the call. What was written already goes out if it is read."""
        if self._task is not None:
            self._task.cancel()

    async def _flush(self, session: Session) -> None:
        if session.outbox:
            self._round = self._pacer.count(self._round, monotonic())
            try:
                await self._write(session.outbox.take())
            except (aio.BaseError, asyncio.InvalidStateError):
                # The stream is gone; whoever reads from it finds out why. `writing` stays set: nobody writes any more.
                return
        session.last_write = monotonic()
        if session.outbox:
            self._pacer.later(self, session)
        else:
            session.rest()
