"""One device's session, without its I/O: what it was sent, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chat_server.sessions.ack_tracker import AckTracker
from chat_server.sessions.outbox import Outbox
from tidings.core.errors import Code, Refusal
from tidings.core.limits import SessionLimits
from tidings.core.reasons import Reason
from tidings.core.values import Identity

Wake = Callable[["Session"], None]


class Session:
    """The state of one `Converse` stream.

    While its replay is under way, live events are held back: `begin_replay`, then `finish_replay`.

    Args:
        session_id: Its name.
        identity: The device.
        limits: How much may wait.
        wake_writer: Called when something begins to wait to be written.
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_held_events",
        "_limits",
        "_wake_done",
        "_wake_ended",
        "_wake_room",
        "_wake_writer",
        "ended",
        "identity",
        "in_flight",
        "last_write",
        "opened",
        "outbox",
        "session_id",
        "unacknowledged",
        "warned",
        "writing",
    )

    def __init__(self, session_id: str, identity: Identity, limits: SessionLimits, wake_writer: Wake) -> None:
        self.session_id = session_id
        self.identity = identity
        self.outbox = Outbox(limits)
        self.unacknowledged = AckTracker()
        self.in_flight = 0
        self.ended: Refusal | None = None
        self.warned = False
        """Whether it was told that its token runs out."""
        self.writing = False
        """Whether a write is under way or scheduled; kept by the writer."""
        self.last_write = 0.0
        self.opened = 0.0
        """When it was entered, in monotonic seconds."""
        self._limits = limits
        self._wake_writer = wake_writer
        self._wake_done: Callable[[], None] | None = None
        self._wake_ended: Callable[[], None] | None = None
        self._wake_room: Callable[[], None] | None = None
        self._held: list[tuple[bytes, int, str, int, int]] | None = None
        self._held_bytes = 0
        self._held_events = 0

    # --- what the session is sent -------------------------------------------------------------------------------------

    def deliver(self, frame: bytes, events: int, channel_id: str, position: int, seq: int) -> None:
        """Send entries of a channel's log.

        Args:
            frame: The framed entries, or results in their place.
            events: The number of events.
            channel_id: The channel.
            position: The position of the last event.
            seq: The seq of the last event.
        """
        if self.ended is not None:
            return
        if self._held is not None:
            self._hold(self._held, frame, events, channel_id, position, seq)
            return
        self.unacknowledged.sent(channel_id, position, seq)
        self.send(frame, events)

    def send(self, frame: bytes, events: int = 1) -> None:
        """Send what is in no log: results and notices."""
        if self.ended is not None:
            return
        if self._held is not None:
            self._hold(self._held, frame, events, "", 0, 0)
        elif not self.outbox.add(frame, events):
            self.end(
                Refusal(
                    Code.RESOURCE_EXHAUSTED,
                    f"more than {self._limits.waiting_events:,} events or {self._limits.waiting_bytes:,} bytes wait to "
                    "be read; connect again from the cursor and read faster",
                    reason=Reason.READER_TOO_SLOW,
                )
            )
        elif not self.writing:
            self._wake_writer(self)

    def hint(self, frame: bytes) -> None:
        """Send what a client can do without, such as "is typing": left out once much waits, for it ends no session."""
        if self._held is not None:
            behind = 2 * self._held_bytes > self._limits.waiting_bytes or (
                2 * self._held_events > self._limits.waiting_events
            )
        else:
            behind = self.outbox.is_half_full
        if not behind:
            self.send(frame)

    def result(self, frame: bytes) -> None:
        """Send the result of a command."""
        self.finish_command()
        self.send(frame)

    # --- replay -------------------------------------------------------------------------------------------------------

    def begin_replay(self) -> None:
        """Hold live events back from now on; the session's own commands wait until the replay is over."""
        self._held = []
        self._held_bytes = self._held_events = 0

    def finish_replay(self, replayed: Mapping[str, int], complete: bytes) -> bool:
        """End the replay and send what was held back, without what the replay has brought.

        Args:
            replayed: By channel, the seq up to which the replay went.
            complete: The framed SyncComplete, which goes before what was held back.

        Returns:
            False when more was held back than may wait: it is dropped, and has to be replayed too.
        """
        held, self._held = self._held or [], None
        # The SyncComplete waits together with what was held back.
        self._held_bytes += len(complete)
        self._held_events += 1
        if self._held_too_much():
            return False
        self.send(complete)
        for frame, events, channel_id, position, seq in held:
            if not channel_id:
                self.send(frame, events)
            elif seq > replayed.get(channel_id, 0):
                self.deliver(frame, events, channel_id, position, seq)
        return True

    def _hold(
        self,
        held: list[tuple[bytes, int, str, int, int]],
        frame: bytes,
        events: int,
        channel_id: str,
        position: int,
        seq: int,
    ) -> None:
        self._held_bytes += len(frame)
        self._held_events += events
        if self._held_too_much():
            held.clear()
        else:
            held.append((frame, events, channel_id, position, seq))

    def _held_too_much(self) -> bool:
        return self._held_bytes > self._limits.waiting_bytes or self._held_events > self._limits.waiting_events

    # --- what the session does ----------------------------------------------------------------------------------------

    def start_command(self) -> None:
        """Note that a command goes to a channel, and its result is due."""
        self.in_flight += 1

    def finish_command(self) -> None:
        """Note that a command's result is there."""
        self.in_flight -= 1
        if self._wake_room is not None and self.in_flight < self._limits.commands_in_flight:
            wake, self._wake_room = self._wake_room, None
            wake()

    def is_full(self) -> bool:
        """Whether as many commands are in flight as allowed. Nothing more is read then."""
        return self.in_flight >= self._limits.commands_in_flight

    def when_room(self, wake: Callable[[], None]) -> None:
        """Call `wake` once the session is not full any more."""
        self._wake_room = wake

    # --- the end ------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Note that everything that waited is written."""
        self.writing = False
        if self._wake_done is not None and self.is_done():
            self._wake_done()

    def is_done(self) -> bool:
        """Whether no result is due, and nothing waits to be written."""
        return not self.in_flight and not self.outbox and not self.writing

    def when_done(self, wake: Callable[[], None]) -> None:
        """Call `wake` once the session is done. Its client sends nothing more, and still gets its results."""
        self._wake_done = wake

    def when_ended(self, wake: Callable[[], None]) -> None:
        """Call `wake` when the server ends the session."""
        self._wake_ended = wake

    def finish(self, reason: Refusal) -> None:
        """End the session once it is done."""
        if self.is_done():
            self.end(reason)
        else:
            self.when_done(lambda: self.end(reason))

    def end(self, reason: Refusal) -> None:
        """End the session from the server's side, with a status for its stream."""
        if self.ended is None:
            self.ended = reason
            self._drop_all()
            if self._wake_ended is not None:
                self._wake_ended()

    def close(self) -> None:
        """Drop what was kept for a session whose stream is gone."""
        self._wake_done = self._wake_ended = self._wake_room = None
        if self.ended is None:
            self.ended = Refusal(Code.ABORTED, "the stream is closed", reason=Reason.CLOSED)
        self._drop_all()

    def _drop_all(self) -> None:
        self.outbox.clear()
        self._held = None
