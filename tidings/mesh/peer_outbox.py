"""What goes from a sequencer to the servers that hold sessions: kept until confirmed, bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tidings.core.errors import Refusal
from tidings.core.framing import frame
from tidings.core.requests import Outcome
from tidings.internal.v1 import peer_pb2
from tidings.mesh.deliveries import OutgoingDeliveries
from tidings.rpc.status import to_status
from tidings.v1 import chat_pb2

_MOST_BYTES = 16 << 20
"""What may wait for one server, or be unconfirmed; a server that is further behind catches up from the inboxes."""


class PeerOutbox:
    """What one server has coming, in order."""

    def __init__(self) -> None:
        self._deliveries = OutgoingDeliveries(_MOST_BYTES)
        self._waiting: list[bytes] = []
        self._wake: Callable[[], None] | None = None

    def deliver(self, channel_id: str, entries: Sequence[peer_pb2.Entry], user_ids: Collection[str]) -> None:
        """Deliver new entries of a channel to the sessions of some users there, and to those who made them there."""
        sent = self._deliveries.add(
            lambda number: _framed(
                peer_pb2.PeerResponse(
                    delivery=peer_pb2.Delivery(number=number, channel_id=channel_id, user_ids=user_ids, entries=entries)
                )
            )
        )
        if sent is None:
            self.detach()
        else:
            self._send(sent)

    def result(self, request_id: int, outcome: Outcome) -> None:
        """Send the outcome of a request from there. On a broken stream nobody waits for it any more."""
        result = peer_pb2.ChannelResult(request_id=request_id)
        if isinstance(outcome, Refusal):
            result.error.CopyFrom(to_status(outcome))
        else:
            accepted = chat_pb2.Accepted(channel_id=outcome.channel_id, seq=outcome.seq, position=outcome.position)
            if outcome.created_at_ms:
                accepted.created_at.FromMilliseconds(outcome.created_at_ms)
            result.accepted.CopyFrom(accepted)
        self._send(_framed(peer_pb2.PeerResponse(channel_result=result)))

    def ephemeral(self, event: bytes, user_ids: Collection[str]) -> None:
        """Send a framed event that is in no log; lost when there is no stream."""
        self._send(_framed(peer_pb2.PeerResponse(ephemeral=peer_pb2.Ephemeral(frame=event, user_ids=user_ids))))

    def newer_stream(self, device_id: str, open_for: float) -> None:
        """Tell that a device has had a stream here for some seconds; lost when there is no stream to that server."""
        newer = peer_pb2.NewerStream(device_id=device_id, open_for_ms=round(open_for * 1000))
        self._send(_framed(peer_pb2.PeerResponse(newer_stream=newer)))

    # --- the stream ---------------------------------------------------------------------------------------------------

    def attach(self, opening: peer_pb2.Open, wake: Callable[[], None]) -> None:
        """Take a new stream into use, in the place of an earlier one.

        Args:
            opening: What the server said first.
            wake: Called when there is something to take.
        """
        self.detach()
        opened, again = self._deliveries.open(opening)
        self._waiting = [_framed(peer_pb2.PeerResponse(opened=opened)), *again]
        self._wake = wake
        wake()

    def detach(self) -> None:
        """Leave the stream, if there is one: it is gone, or has to end."""
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
        """Note that everything up to a number has arrived."""
        if self._wake is not None:
            self._deliveries.confirm(number)

    def take(self) -> bytes:
        """All that waits, as one frame."""
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)

    def _send(self, response: bytes) -> None:
        if self._wake is not None:
            self._waiting.append(response)
            self._wake()


@dataclass(slots=True, eq=False)
class PeerReply:
    """A `ReplyTo` for a request of another server.

    Args:
        outbox: What that server has coming.
        request_id: The number that it gave the request.
        in_log_order: Whether a session waits there for the event that the request makes.
    """

    outbox: PeerOutbox
    request_id: int
    in_log_order: bool

    def reply(self, outcome: Outcome) -> None:
        """See `ReplyTo.reply`."""
        self.outbox.result(self.request_id, outcome)


class Peers:
    """The servers that hold sessions."""

    def __init__(self) -> None:
        self._outboxes: dict[str, PeerOutbox] = {}
        self._alive: frozenset[str] = frozenset()

    def outbox(self, server_id: str) -> PeerOutbox:
        """The outbox of a server; there is one also before the server opens its stream."""
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
        """Keep the outboxes of these servers and drop the others: their sessions replay somewhere else.

        A server that holds a stream open is kept whatever the registry says: it may be cut off from that alone.
        """
        attached = {server_id for server_id, outbox in self._outboxes.items() if outbox.is_open}
        self._alive = frozenset(alive) | attached
        for server_id in self._outboxes.keys() - self._alive:
            del self._outboxes[server_id]


def _framed(response: peer_pb2.PeerResponse) -> bytes:
    # Field 1 of LinkResponse, as Event is of ConverseResponse.
    return frame(response.SerializeToString())
