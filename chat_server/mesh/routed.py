"""Channels that another server sequences, and what their sequencers send to the sessions here."""

from __future__ import annotations

from collections.abc import Callable, Collection

from chat_server.channels.fanout import Item
from chat_server.channels.local import LocalChannels
from chat_server.sessions.registry import SessionRegistry
from tidings.core.clock import Clock
from tidings.core.errors import unavailable
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest
from tidings.internal.v1 import peer_pb2
from tidings.mesh.peer_link import PeerHandler
from tidings.mesh.router import ChannelRouter

_COME_BACK_SECONDS = 0.1
"""After which devices that may lack events are told to connect again."""


class RoutedChannels:
    """`Channels` on whichever server sequences them.

    Args:
        local: The channels that this server sequences.
        router: The way to the others.
    """

    def __init__(self, local: LocalChannels, router: ChannelRouter) -> None:
        self._local = local
        self._router = router

    def post(self, request: ChannelRequest) -> None:
        """See `Channels.post`."""
        if self._router.is_mine(request.channel_id):
            self._local.post(request)
        else:
            self._router.post(request)

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """See `Channels.received`."""
        if self._router.is_mine(channel_id):
            self._local.received(channel_id, user_id, seq)
        elif (link := self._router.link(channel_id)) is not None:
            link.received(channel_id, user_id, seq)

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """See `Channels.typing`."""
        if self._router.is_mine(channel_id):
            await self._local.typing(channel_id, user_id, typing)
        else:
            await self._router.show_typing(channel_id, user_id, typing)

    async def settle(self, device_ids: Collection[str]) -> None:
        """See `Channels.settle`. What another server sequences, that one refuses once it has heard of the sign-out."""
        await self._local.settle(device_ids)


class DeliveryReceiver(PeerHandler):
    """Hands what the sequencers send to the sessions of this server.

    Args:
        sessions: Those sessions.
        clock: Gives monotonic seconds.
    """

    def __init__(self, sessions: SessionRegistry, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    def delivered(self, delivery: peer_pb2.Delivery, take_request: Callable[[int], ChannelRequest | None]) -> None:
        """See `PeerHandler.delivered`."""
        items = []
        for entry in delivery.entries:
            request = take_request(entry.request_id) if entry.request_id else None
            origin = request.reply_to if request is not None else None
            items.append(Item(entry.frame, entry.seq, entry.position, origin, created_at_ms=entry.created_at_ms))
        self._sessions.deliver(delivery.channel_id, delivery.user_ids, items)

    def ephemeral(self, ephemeral: peer_pb2.Ephemeral) -> None:
        """See `PeerHandler.ephemeral`."""
        self._sessions.send(ephemeral.user_ids, ephemeral.frame)

    def newer_stream(self, newer: peer_pb2.NewerStream) -> None:
        """See `PeerHandler.newer_stream`."""
        session = self._sessions.of_device(newer.device_id)
        # Two ages, each by its own server's clock: what the clocks show may be apart.
        if session is not None and self._clock.monotonic() - session.opened > newer.open_for_ms / 1000:
            self._sessions.replace(session)

    def deliveries_lost(self) -> None:
        """See `PeerHandler.deliveries_lost`: a session that comes back gets all that it lacks from its inbox."""
        why = unavailable(
            "events may be missing; connect again from the cursor", Reason.EVENTS_MISSED, _COME_BACK_SECONDS
        )
        for session in self._sessions:
            session.end(why)
