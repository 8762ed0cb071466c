"""What goes from this owner to the servers that hold sessions: numbered, kept until confirmed, bounded."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Collection, Sequence

from chat_server import wire
from chat_server.live import Item
from tidings.core.actions import Accepted
from tidings.core.errors import Refusal
from tidings.internal.v1 import peer_pb2
from tidings.rpc.status import to_status
from tidings.v1 import chat_pb2

_MOST_BYTES = 16 << 20
"""What may wait for one server, or be unconfirmed; a server that is further behind catches up from the inboxes."""


class PeerOutbox:
    """What one server has coming."""

    def __init__(self) -> None:
        """Nothing yet."""
        # What an earlier outbox for the same server has numbered must not be taken for this one's.
        self._life = secrets.token_hex(8)
        self._number = 0
        self._unconfirmed: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._missed = False
        self._waiting: list[bytes] = []
        self._wake: Callable[[], None] | None = None

    def deliver(self, channel_id: str, items: Sequence[Item], user_ids: Collection[str]) -> None:
        """New entries of a channel, for the sessions of some users there, and answers to those who made them there."""
        self._number += 1
        delivery = peer_pb2.Delivery(
            number=self._number,
            channel_id=channel_id,
            user_ids=user_ids,
            entries=[
                peer_pb2.Entry(
                    frame=item.frame,
                    seq=item.seq,
                    position=item.position,
                    ask_id=item.maker.ask_id if item.maker is not None and item.maker.peer is self else 0,
                )
                for item in items
            ],
        )
        reply = _framed(peer_pb2.Reply(delivery=delivery))
        self._unconfirmed.append((self._number, reply))
        self._bytes += len(reply)
        if self._bytes > _MOST_BYTES:
            self._unconfirmed.clear()
            self._bytes = 0
            self._missed = True
            # What is under way may have gaps now: the stream ends, and the next one says so.
            self.detach()
        else:
            self._send(reply)

    def answer(self, ask_id: int, outcome: Accepted | Refusal) -> None:
        """What came of something that was asked from there. On a broken stream nobody waits for it any more."""
        answer = peer_pb2.Answer(ask_id=ask_id)
        if isinstance(outcome, Refusal):
            answer.error.CopyFrom(to_status(outcome))
        else:
            answer.accepted.CopyFrom(
                chat_pb2.Accepted(channel_id=outcome.channel_id, seq=outcome.seq, position=outcome.position)
            )
        self._send(_framed(peer_pb2.Reply(answer=answer)))

    def news(self, frame: bytes, user_ids: Collection[str]) -> None:
        """What is in no log; lost when there is no stream."""
        self._send(_framed(peer_pb2.Reply(news=peer_pb2.News(frame=frame, user_ids=user_ids))))

    def newer(self, device_id: str, opened_ms: int) -> None:
        """A device has opened a stream here; lost when there is no stream to that server."""
        self._send(_framed(peer_pb2.Reply(newer=peer_pb2.Newer(device_id=device_id, opened_ms=opened_ms))))

    # --- the stream ---------------------------------------------------------------------------------------------------

    def attach(self, opening: peer_pb2.Open, wake: Callable[[], None]) -> None:
        """A stream is open; it takes the place of an earlier one.

        Args:
            opening: What the server said first.
            wake: Is called when there is something to take.
        """
        self.detach()
        if opening.life == self._life:
            self.confirm(opening.confirmed)
        elif opening.life:
            # It was thought to be gone, and what it had coming was dropped.
            self._missed = True
        opened = peer_pb2.Opened(life=self._life, missed=self._missed)
        self._waiting = [_framed(peer_pb2.Reply(opened=opened)), *(reply for _, reply in self._unconfirmed)]
        self._wake = wake
        wake()

    def detach(self) -> None:
        """The stream is gone."""
        self._waiting = []
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._wake is not None

    def is_attached(self, wake: Callable[[], None]) -> bool:
        """Whether the stream with this `wake` is the one in use."""
        return self._wake is wake

    def confirm(self, number: int) -> None:
        """Everything up to a number has arrived."""
        if self._wake is not None:
            # It has read how this stream opened.
            self._missed = False
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0][0] <= number:
            self._bytes -= len(unconfirmed.popleft()[1])

    def take(self) -> bytes:
        """All that waits, as one frame."""
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)

    def _send(self, reply: bytes) -> None:
        if self._wake is not None:
            self._waiting.append(reply)
            self._wake()


class Peers:
    """The servers that hold sessions."""

    def __init__(self) -> None:
        """Nobody is known."""
        self._outboxes: dict[str, PeerOutbox] = {}
        self._alive: frozenset[str] = frozenset()

    def outbox(self, server_id: str) -> PeerOutbox:
        """What a server has coming: kept for one that has not opened its stream yet, too."""
        outbox = self._outboxes.get(server_id)
        if outbox is None:
            outbox = PeerOutbox()
            if server_id:
                self._outboxes[server_id] = outbox
        return outbox

    @property
    def alive(self) -> Collection[str]:
        """The servers that are there, but for this one."""
        return self._alive

    def update(self, alive: Collection[str]) -> None:
        """These are there, by the registry: what others had coming is theirs to replay somewhere else.

        Whoever holds a stream open is there too, whatever the registry says: it may be cut off from that alone.
        """
        attached = {server_id for server_id, outbox in self._outboxes.items() if outbox.is_open}
        self._alive = frozenset(alive) | attached
        for server_id in self._outboxes.keys() - self._alive:
            del self._outboxes[server_id]


def _framed(reply: peer_pb2.Reply) -> bytes:
    # Field 1 of LinkResponse, as of ConverseResponse: joined frames are a frame with all that is in them.
    return wire.frame(reply.SerializeToString())
