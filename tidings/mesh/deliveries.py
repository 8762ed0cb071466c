"""Deliveries between two servers, exactly once and in order over streams that break: the state of both ends, no I/O.

The sequencer numbers what it delivers to a server and keeps it until that server confirms it. The numbers belong to an
epoch. A new stream opens with the server's last number and its epoch, so the sequencer goes on from there; where that
is not possible, because the numbers are another epoch's or too much was unconfirmed, it says that deliveries were lost.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence

from tidings.internal.v1 import peer_pb2


class OutgoingDeliveries:
    """The sequencer's end: what one server has coming.

    Args:
        most_bytes: How much may be unconfirmed. A server that is further behind catches up from the inboxes.
    """

    def __init__(self, most_bytes: int) -> None:
        # Random: numbers of an earlier object for the same server must not be taken for this one's.
        self.epoch = secrets.token_hex(8)
        self._most_bytes = most_bytes
        self._number = 0
        self._unconfirmed: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._lost = False

    def add(self, encode: Callable[[int], bytes]) -> bytes | None:
        """Number a delivery and keep it until it is confirmed.

        Args:
            encode: Makes the bytes of the delivery with a number.

        Returns:
            The bytes, to be sent if there is a stream. None when more than `most_bytes` were unconfirmed: all of it is
            dropped. A stream that is open would have a gap; it has to end, and the next one says so.
        """
        self._number += 1
        delivery = encode(self._number)
        self._unconfirmed.append((self._number, delivery))
        self._bytes += len(delivery)
        if self._bytes <= self._most_bytes:
            return delivery
        self._unconfirmed.clear()
        self._bytes = 0
        self._lost = True
        return None

    def open(self, opening: peer_pb2.Open) -> tuple[peer_pb2.Opened, Sequence[bytes]]:
        """Begin a stream.

        Args:
            opening: What the other server said first.

        Returns:
            What to say first, and the deliveries to send again.
        """
        if opening.epoch == self.epoch:
            self._forget(opening.confirmed)
        elif opening.epoch:
            # The server was thought to be gone, or this one started again: what there was for it was dropped.
            self._lost = True
        opened = peer_pb2.Opened(epoch=self.epoch, deliveries_lost=self._lost)
        return opened, [delivery for _, delivery in self._unconfirmed]

    def confirm(self, number: int) -> None:
        """Forget everything up to a number, which the other server has confirmed on the open stream."""
        # Whoever confirms has read how this stream opened.
        self._lost = False
        self._forget(number)

    def _forget(self, number: int) -> None:
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0][0] <= number:
            self._bytes -= len(unconfirmed.popleft()[1])


class IncomingDeliveries:
    """The end of the server that dials: how far it has come with one sequencer.

    Args:
        server_id: The server that dials; empty for one that holds no sessions.
    """

    def __init__(self, server_id: str) -> None:
        self._server_id = server_id
        self._epoch = ""
        self._received = 0
        self._confirmed = 0

    def opening(self) -> peer_pb2.Open:
        """What to say first on a new stream."""
        return peer_pb2.Open(server_id=self._server_id, confirmed=self._received, epoch=self._epoch)

    def opened(self, opened: peer_pb2.Opened) -> peer_pb2.Confirm:
        """Take the sequencer's first word. Whether deliveries were lost stands in it.

        Returns:
            What to say next: it tells the sequencer that its first word was read.
        """
        if self._epoch != opened.epoch:
            self._received = 0
        self._epoch = opened.epoch
        self._confirmed = self._received
        return peer_pb2.Confirm(number=self._received)

    def received(self, number: int) -> None:
        """Note that everything up to a delivery has been handed on."""
        self._received = number

    def confirmation(self) -> peer_pb2.Confirm | None:
        """What is to be confirmed; None when the sequencer knows all."""
        if self._confirmed == self._received:
            return None
        self._confirmed = self._received
        return peer_pb2.Confirm(number=self._received)
