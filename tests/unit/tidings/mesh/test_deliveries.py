"""Deliveries over streams that break: each arrives once and in order, or the other end is told that some were lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidings.internal.v1 import peer_pb2
from tidings.mesh.deliveries import IncomingDeliveries, OutgoingDeliveries

_MOST_BYTES = 400


def _encode(name: int) -> bytes:
    return peer_pb2.Delivery(number=name, channel_id="c" * 20).SerializeToString()


class Link(RuleBasedStateMachine):
    """Two ends, and a stream between them that may break with whatever is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = OutgoingDeliveries(_MOST_BYTES)
        self.incoming = IncomingDeliveries("s1")
        self.is_open = False
        self.to_server: deque[bytes] = deque()
        self.confirmations: deque[int] = deque()
        # What the server with sessions lacks: the sequencer's numbers that were added and have not been handed on.
        self.lacks: deque[tuple[str, int]] = deque()
        self.gap = False

    # --- the sequencer ------------------------------------------------------------------------------------------------

    @rule()
    def deliver(self) -> None:
        numbers: list[int] = []

        def encode(number: int) -> bytes:
            numbers.append(number)
            return _encode(number)

        sent = self.outgoing.add(encode)
        self.lacks.append((self.outgoing.epoch, numbers[0]))
        if sent is None:
            self.gap = True
            self.break_stream()
        elif self.is_open:
            self.to_server.append(sent)

    @rule()
    def sequencer_starts_again(self) -> None:
        """What it had for the server is gone.

        A server that never read an opening is not told: whoever sequences the channels next hands out again.
        """
        self.gap = bool(self.incoming.opening().epoch) and (self.gap or bool(self.lacks))
        self.lacks.clear()
        self.outgoing = OutgoingDeliveries(_MOST_BYTES)
        self.break_stream()

    # --- the stream ---------------------------------------------------------------------------------------------------

    def break_stream(self) -> None:
        self.is_open = False
        self.to_server.clear()
        self.confirmations.clear()

    @rule()
    def stream_breaks(self) -> None:
        self.break_stream()

    @precondition(lambda self: not self.is_open)
    @rule()
    def stream_opens(self) -> None:
        opening = self.incoming.opening()
        opened, again = self.outgoing.open(opening)
        assert opening.server_id == "s1"
        self._read_opened(opened, again)

    @precondition(lambda self: not self.is_open)
    @rule()
    def stream_opens_and_breaks_before_it_is_read(self) -> None:
        self.outgoing.open(self.incoming.opening())

    def _read_opened(self, opened: peer_pb2.Opened, again: Sequence[bytes]) -> None:
        if opened.deliveries_lost:
            # The sessions catch up from their inboxes, which have everything.
            self.gap = False
            still = {(self.outgoing.epoch, peer_pb2.Delivery.FromString(each).number) for each in again}
            self.lacks = deque(each for each in self.lacks if each in still)
        assert not self.gap, "deliveries were lost, and nobody was told"
        self.is_open = True
        self.to_server.extend(again)
        self.confirmations.append(self.incoming.opened(opened).number)

    @precondition(lambda self: self.to_server)
    @rule(count=st.integers(1, 5))
    def arrive(self, count: int) -> None:
        for _ in range(min(count, len(self.to_server))):
            number = peer_pb2.Delivery.FromString(self.to_server.popleft()).number
            # Exactly the next one that is lacking: nothing twice, nothing left out, nothing early.
            assert self.lacks.popleft() == (self.outgoing.epoch, number)
            self.incoming.received(number)

    @rule()
    def server_confirms(self) -> None:
        confirm = self.incoming.confirmation()
        if confirm is not None and self.is_open:
            self.confirmations.append(confirm.number)

    @precondition(lambda self: self.confirmations)
    @rule()
    def confirmation_arrives(self) -> None:
        self.outgoing.confirm(self.confirmations.popleft())

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        _, kept = self.outgoing.open(peer_pb2.Open(epoch=self.outgoing.epoch))
        assert sum(map(len, kept)) <= _MOST_BYTES


TestLink = Link.TestCase


def test_a_server_that_comes_for_the_first_time_has_lost_nothing() -> None:
    outgoing = OutgoingDeliveries(_MOST_BYTES)
    first = outgoing.add(_encode)
    opened, again = outgoing.open(IncomingDeliveries("s1").opening())
    assert not opened.deliveries_lost
    assert again == [first]


def test_that_deliveries_were_lost_is_said_until_it_was_read() -> None:
    outgoing, incoming = OutgoingDeliveries(_MOST_BYTES), IncomingDeliveries("s1")
    while outgoing.add(_encode) is not None:
        pass
    for _ in range(2):
        opened, again = outgoing.open(incoming.opening())
        assert opened.deliveries_lost
        assert again == []
    outgoing.confirm(incoming.opened(opened).number)
    opened, _ = outgoing.open(incoming.opening())
    assert not opened.deliveries_lost


def test_what_is_confirmed_is_confirmed_once() -> None:
    incoming = IncomingDeliveries("s1")
    incoming.opened(peer_pb2.Opened(epoch="a"))
    assert incoming.confirmation() is None
    incoming.received(3)
    assert incoming.confirmation() == peer_pb2.Confirm(number=3)
    assert incoming.confirmation() is None
    assert incoming.opening() == peer_pb2.Open(server_id="s1", confirmed=3, epoch="a")
