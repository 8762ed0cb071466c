"""The receive buffer: every event of a channel's log once and in order, whatever the stream repeats or leaves out.

Two things are kept apart. *Received* is what has reached this process: a reconnect continues from there, and a repeat
is recognised by it. *Handled* is what the application is done with: that is saved, so that a crash in between brings
those events again instead of losing them. Between the two lies the queue of events received and not yet handled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidings.v1 import chat_pb2
from tidings_client._channel_order import ChannelOrder, SeqPlace
from tidings_client._progress import Progress, ProgressUpdate

LOG_KINDS = frozenset(
    kind.name
    for kind in chat_pb2.Event.DESCRIPTOR.oneofs_by_name["body"].fields
    if kind.message_type is not None and {"channel_id", "seq"} <= set(kind.message_type.fields_by_name)
)
"""The kinds of event that are entries of a channel's log: those that have a channel and a number in it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Asks for the events of a channel with `after` < seq < `before`, from HistoryService.ListEvents."""

    channel_id: str
    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Start:
    """Asks for the first seq of a channel that the user may see, from ChannelService.GetChannel."""

    channel_id: str


@dataclass(frozen=True, slots=True)
class Heads:
    """Asks for the head seq of every channel, from ChannelService.ListChannels."""


# How many events may wait for the application, and how many bytes of them, before the stream is left unread. Where it
# has to be read on, since results are awaited, twice as much is kept, and the rest is skipped.
_MOST_WAITING = 4_000
_MOST_WAITING_BYTES = 16 << 20

Need = Gap | Start | Heads
"""What the buffer has to be told before it can go on."""


@dataclass(slots=True, eq=False)
class StreamEntry:
    """One item of the stream, on its way to the application."""

    event: chat_pb2.Event | None
    """The event; None when only the numbers count."""
    channel_id: str = ""
    seq: int = 0
    """0 for an event that is in no log."""
    position: int = 0
    """0 when the event does not move the cursor."""
    wanted: bool = True
    """Whether the application gets the event."""
    heads: Mapping[str, int] | None = None
    """With a SyncReset: the seq of every channel up to which the application rebuilds."""
    is_set_back: bool = False
    """Whether the server's data was set back to an older copy, so that the saved cursor has to start anew."""
    size: int = 0
    """The bytes of the event."""

    def __post_init__(self) -> None:
        """Measures the event."""
        self.size = self.event.ByteSize() if self.event is not None else 0


def entry_of(event: chat_pb2.Event) -> StreamEntry:
    """Makes the entry of an event."""
    kind = event.WhichOneof("body")
    if kind in LOG_KINDS:
        body = getattr(event, kind)
        return StreamEntry(event, body.channel_id, body.seq, event.position or body.position)
    if kind == "sync_complete":
        return StreamEntry(event, position=event.sync_complete.position)
    # Neither a repeat nor a gap can be recognised in a kind of event that this version does not know: it only moves the
    # cursor.
    return StreamEntry(event, position=event.position, wanted=kind is not None)


class ReceiveBuffer:
    """Takes events in the order of the stream, and gives them to the application once and in the order of the logs.

    While `need` is set, what comes is held back until the caller has fetched what is needed and supplied it.

    What the application does not take is kept up to a bound. Beyond it, events are skipped until the application has
    taken most of what is kept; then a new stream, from the cursor before them, brings them again.

    Args:
        user_id: The user whose device it is.
        progress: What was handled before.
    """

    def __init__(self, user_id: str, progress: Progress) -> None:
        self._user_id = user_id
        self._order = ChannelOrder(progress.seqs)
        self._ready: deque[StreamEntry] = deque()
        self._held: deque[StreamEntry] = deque()
        self._in_hand: StreamEntry | None = None
        self._handled_cursor = progress.cursor
        self._handled: dict[str, int] = {}
        self._anew = False
        self._unsaved = False
        self._is_set_back = False
        self._skipped_after: int | None = None
        self._waiting_bytes = 0
        self.need: Need | None = None
        self.received_cursor = progress.cursor
        """The highest position received, skipped events included."""
        self.handed_position = 0
        """The highest position that the application was given, which may be acknowledged."""

    def __len__(self) -> int:
        """The number of events that wait for the application."""
        return len(self._ready)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for the application that the stream is better left unread."""
        return self._fill > 1.0

    @property
    def is_roomy(self) -> bool:
        """Whether the application has taken enough for the stream to be read on."""
        return self._fill <= 0.5

    @property
    def _fill(self) -> float:
        return max(len(self._ready) / _MOST_WAITING, self._waiting_bytes / _MOST_WAITING_BYTES)

    # --- from the stream ----------------------------------------------------------------------------------------------

    def take(self, entry: StreamEntry) -> None:
        """Takes the next entry of the stream."""
        if self._skipped_after is None and self.need is None and self._fill > 2.0:
            self._skipped_after = self.received_cursor
        if self._skipped_after is not None:
            self.received_cursor = max(self.received_cursor, entry.position)
            return
        if self._is_set_back and self.need is None:
            reset = chat_pb2.Event(sync_reset=chat_pb2.SyncReset())
            self._hold(StreamEntry(reset, is_set_back=True), Heads())
        if self.need is None:
            self._admit(entry)
        else:
            self._held.append(entry)

    def lose(self) -> None:
        """Drops what was held back, since the stream is gone: it comes again with the next one."""
        self._held.clear()
        self.need = None

    @property
    def is_skipping(self) -> bool:
        """Whether events are skipped, since too many wait for the application."""
        return self._skipped_after is not None

    def begin(self) -> int:
        """Begins with another stream, and gives the cursor for it: before the skipped events once there is room."""
        if self._skipped_after is not None and self.is_roomy:
            self.received_cursor = self._skipped_after
            self._skipped_after = None
        return self.received_cursor

    def restart(self) -> None:
        """Starts over, since the server has been set back to an older copy of its data and does not know the cursor.

        Nothing that came before tells what the server has now: the same seq may belong to another event. So the
        application is given a SyncReset. Until it has handled that, the old cursor stays saved, and after a crash leads
        here again.
        """
        self.received_cursor = self.handed_position = 0
        self._skipped_after = None
        self._is_set_back = True
        for entry in self._ready:
            entry.position = 0
        if self._in_hand is not None:
            self._in_hand.position = 0

    # --- what was asked for -------------------------------------------------------------------------------------------

    def supply_events(self, entries: Iterable[StreamEntry]) -> None:
        """Answers a `Gap`, page by page, with the events after its `after`, ordered by seq.

        An empty page says that there are no more. The history is trusted: what it leaves out is not for this user to
        see, such as what happened between leaving a group and coming back.
        """
        need = self.need
        if not isinstance(need, Gap):
            raise TypeError(f"{need} is needed, not events")
        last = need.after
        for entry in entries:
            if entry.channel_id == need.channel_id and last < entry.seq < need.before:
                last = entry.seq
                # Only the stream moves the cursor, since there everything before an event has been received.
                entry.position = 0
                self._append(entry)
        if last == need.after or last == need.before - 1:
            self._order.advance(need.channel_id, need.before - 1)
            self._go_on()
        else:
            self.need = Gap(need.channel_id, last, need.before)

    def supply_start(self, first_seq: int) -> None:
        """Answers a `Start` with the first seq of the channel that the user may see; 0 when it cannot be known."""
        need = self.need
        if not isinstance(need, Start):
            raise TypeError(f"{need} is needed, not the start of a channel")
        seq = self._held[0].seq
        # An event from an earlier stay in a group lies before the start of the present one.
        self._order.advance(need.channel_id, min(first_seq or seq, seq) - 1)
        self._go_on()

    def supply_heads(self, heads: Mapping[str, int]) -> None:
        """Answers `Heads` with the head seq of every channel that the user is in."""
        if not isinstance(self.need, Heads):
            raise TypeError(f"{self.need} is needed, not heads")
        self._held[0].heads = heads
        self._go_on()

    # --- to the application -------------------------------------------------------------------------------------------

    def next(self) -> chat_pb2.Event | None:
        """Gives the application its next event, or None when there is none yet; the one before counts as handled."""
        self.finish()
        while self._ready:
            entry = self._ready.popleft()
            self._waiting_bytes -= entry.size
            self.handed_position = max(self.handed_position, entry.position)
            if entry.event is not None and entry.wanted:
                self._in_hand = entry
                return entry.event
            self._settle(entry)
        return None

    def finish(self) -> None:
        """Counts the event that the application was given last as handled."""
        if self._in_hand is not None:
            self._settle(self._in_hand)
            self._in_hand = None

    @property
    def has_unsaved(self) -> bool:
        """Whether anything was handled since the last `take_unsaved`."""
        return self._unsaved

    def take_unsaved(self) -> ProgressUpdate:
        """Gives what was handled since the last call, to be saved."""
        update = ProgressUpdate(self._handled_cursor, self._handled, self._anew)
        self._handled, self._anew, self._unsaved = {}, False, False
        return update

    # --- the rules ----------------------------------------------------------------------------------------------------

    def _admit(self, entry: StreamEntry) -> None:
        """Queues an entry for the application, drops a repeat, or holds it back when something before it is missing."""
        if entry.seq:
            place = self._order.place(entry.channel_id, entry.seq)
            if place is SeqPlace.UNKNOWN and self._is_joining(entry):
                place = SeqPlace.NEXT
            if place is SeqPlace.SEEN:
                if entry.position > self.received_cursor:
                    self._append(StreamEntry(None, position=entry.position))
                return
            if place is SeqPlace.UNKNOWN:
                self._hold(entry, Start(entry.channel_id))
                return
            lacks_event = entry.event is None and entry.wanted
            if place is SeqPlace.BEYOND or lacks_event:
                last = self._order.last(entry.channel_id) or 0
                self._hold(entry, Gap(entry.channel_id, last, entry.seq + lacks_event))
                return
        elif entry.event is not None and entry.event.HasField("sync_reset"):
            if entry.heads is None:
                self._hold(entry, Heads())
                return
            self._order.restart(entry.heads)
            self._is_set_back = self._is_set_back and not entry.is_set_back
        self._append(entry)

    def _hold(self, entry: StreamEntry, need: Need) -> None:
        self._held.appendleft(entry)
        self.need = need

    def _go_on(self) -> None:
        self.need = None
        while self._held and self.need is None:
            self._admit(self._held.popleft())

    def _append(self, entry: StreamEntry) -> None:
        if entry.seq:
            self._order.advance(entry.channel_id, entry.seq)
        self.received_cursor = max(self.received_cursor, entry.position)
        self._waiting_bytes += entry.size
        self._ready.append(entry)

    def _settle(self, entry: StreamEntry) -> None:
        if entry.heads is not None:
            self._handled, self._anew = dict(entry.heads), True
            self._unsaved = True
        if entry.is_set_back:
            self._handled_cursor = 0
        if entry.seq:
            self._handled[entry.channel_id] = entry.seq
            self._unsaved = True
        if entry.position > self._handled_cursor:
            self._handled_cursor = entry.position
            self._unsaved = True

    def _is_joining(self, entry: StreamEntry) -> bool:
        if entry.event is None or not entry.event.HasField("membership_changed"):
            return False
        return any(
            change.kind == chat_pb2.MemberChange.KIND_ADDED and change.user_id == self._user_id
            for change in entry.event.membership_changed.changes
        )
