"""A chat server among others: which channels are its own, and what comes from the owners of the rest."""

from __future__ import annotations

from collections.abc import Callable

from chat_server.live import Item, LiveSessions
from chat_server.owned import OwnedChannels
from chat_server.submission import Submission
from tidings.core.errors import unavailable
from tidings.internal.v1 import peer_pb2
from tidings.rpc.link import Question
from tidings.rpc.owners import Owners


class MeshChannels:
    """`Channels` wherever their owner is."""

    def __init__(self, owned: OwnedChannels, owners: Owners) -> None:
        """Channels of this server are in `owned`, those of others are reached through `owners`."""
        self._owned = owned
        self._owners = owners

    def post(self, channel_id: str, submission: Submission) -> None:
        """See `Channels.post`."""
        if self._owners.is_mine(channel_id):
            self._owned.post(channel_id, submission)
        else:
            self._owners.ask(
                Question(
                    channel_id,
                    submission.actor_id,
                    submission.action,
                    submission.reply,
                    in_place=submission.session is not None,
                    maker=submission,
                )
            )

    def received(self, channel_id: str, user_id: str, seq: int) -> None:
        """See `Channels.received`."""
        if self._owners.is_mine(channel_id):
            self._owned.received(channel_id, user_id, seq)
        elif (link := self._owners.link(channel_id)) is not None:
            link.received(channel_id, user_id, seq)

    async def typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """See `Channels.typing`."""
        if self._owners.is_mine(channel_id):
            await self._owned.typing(channel_id, user_id, typing)
        else:
            await self._owners.show_typing(channel_id, user_id, typing)


class Arrivals:
    """Hands what the owners send to the sessions here."""

    def __init__(self, live: LiveSessions) -> None:
        """Delivers to `live`."""
        self._live = live

    def delivered(self, delivery: peer_pb2.Delivery, asked: Callable[[int], Question | None]) -> None:
        """See `Listener.delivered`."""
        items = []
        for entry in delivery.entries:
            question = asked(entry.ask_id) if entry.ask_id else None
            maker = question.maker if question is not None else None
            items.append(
                Item(entry.frame, entry.seq, entry.position, maker=maker if isinstance(maker, Submission) else None)
            )
        self._live.deliver(delivery.channel_id, delivery.user_ids, items)

    def news(self, news: peer_pb2.News) -> None:
        """See `Listener.news`."""
        self._live.send(news.user_ids, news.frame)

    def newer(self, newer: peer_pb2.Newer) -> None:
        """See `Listener.newer`."""
        session = self._live.of_device(newer.device_id)
        if session is not None and session.opened_ms < newer.opened_ms:
            self._live.replace(session)

    def missed(self) -> None:
        """See `Listener.missed`: a session that comes back gets all that it lacks from its inbox."""
        for session in self._live:
            session.end(unavailable("events may be missing; connect again from the cursor", "EVENTS_MISSED", 0.1))
