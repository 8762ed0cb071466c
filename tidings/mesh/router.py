"""The way to whichever chat server sequences a channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from grpc import aio

from tidings.core.actions import Accepted, Action, Aside, Refresh, ShowTyping
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.ports import ChannelWriter, Registry
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest
from tidings.core.values import Server, ServerKind
from tidings.mesh.peer_link import PeerHandler, PeerLink
from tidings.mesh.placement import Placement
from tidings.rpc.future_reply import FutureReply

_log = logging.getLogger(__name__)

# A server that has died leaves the placement when its lease has run out, and another one reads its channels anew.
_REFRESH_ATTEMPTS = 12
_RETRY_SECONDS = 0.5
_TYPING_SECONDS = 1.0
# A link that was down for longer before its server went was not down because the server died.
_LEASE_SECONDS = 10.0


class ChannelRouter(ChannelWriter):
    """Links to all chat servers of a registry, and the placement that says which of them sequences a channel.

    Placement is for speed alone: two servers that disagree about it for a moment both work, and the conditional write
    keeps the log whole. There is no link before `run`.

    Args:
        registry: Tells which chat servers there are.
        dial: Makes a channel to an internal endpoint.
        server_id: This server, if it is a chat server itself: it needs no link to itself.
        handler: Takes what sequencers send for the sessions here.
    """

    def __init__(
        self,
        registry: Registry,
        dial: Callable[[str], aio.Channel],
        server_id: str = "",
        handler: PeerHandler | None = None,
    ) -> None:
        self._registry = registry
        self._dial = dial
        self._server_id = server_id
        self._handler = handler
        self._links: dict[str, tuple[Server, PeerLink, asyncio.Task[None]]] = {}
        self._placement = Placement()
        self._on_change: list[Callable[[Placement], None]] = []

    @property
    def placement(self) -> Placement:
        """The servers that sequence channels now."""
        return self._placement

    @property
    def links(self) -> Sequence[PeerLink]:
        """The links to the chat servers there are, open or not."""
        return [link for _, link, _ in self._links.values()]

    def when_changed(self, notify: Callable[[Placement], None]) -> None:
        """Call `notify` whenever channels may have changed hands."""
        self._on_change.append(notify)

    def link(self, channel_id: str) -> PeerLink | None:
        """The link to a channel's sequencer; None when that is this server, or nobody."""
        found = self._links.get(self._placement.server_of(channel_id) or "")
        return found[1] if found is not None else None

    def is_mine(self, channel_id: str) -> bool:
        """Whether this server sequences a channel."""
        return bool(self._server_id) and self._placement.server_of(channel_id) == self._server_id

    def post(self, request: ChannelRequest) -> None:
        """Send a request to the channel's sequencer, which is another server."""
        link = self.link(request.channel_id)
        if link is None:
            request.reply_to.reply(unavailable("no chat server is there to own the channel", Reason.NO_OWNER))
        else:
            link.post(request)

    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        """See `ChannelWriter.submit`."""
        return await self._ask(channel_id, actor_id, action)

    async def show_typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """Show that somebody is typing. A lost result counts as done: a repetition would come too late.

        Raises:
            Refusal: NOT_FOUND, the user is no member.
        """
        try:
            async with asyncio.timeout(_TYPING_SECONDS):
                await self._ask(channel_id, user_id, ShowTyping(typing))
        except TimeoutError:
            return
        except Refusal as refusal:
            if refusal.code is Code.NOT_FOUND:
                raise

    async def refresh(self, channel_id: str) -> None:
        """See `ChannelWriter.refresh`."""
        for attempt in range(_REFRESH_ATTEMPTS):
            try:
                await self._ask(channel_id, "", Refresh())
                return
            except Refusal as refusal:
                _log.warning("the sequencer of channel %s does not know of a change yet: %s", channel_id, refusal)
            if attempt < _REFRESH_ATTEMPTS - 1:
                await asyncio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """Follow the registry, until cancelled."""
        try:
            async for servers in self._registry.watch(ServerKind.CHAT):
                self._update(servers)
        finally:
            for server_id in list(self._links):
                self._drop(server_id)

    def _update(self, servers: Sequence[Server]) -> None:
        alive = {server.server_id: server for server in servers if server.internal}
        for server_id, (server, _, _) in list(self._links.items()):
            if server_id not in alive or alive[server_id].internal != server.internal:
                self._drop(server_id)
        for server_id, server in alive.items():
            if server_id != self._server_id and server_id not in self._links:
                self._open(server)
        sequencing = {server_id for server_id, server in alive.items() if not server.draining}
        if sequencing != self._placement.server_ids:
            self._placement = placement = self._placement.changed(sequencing)
            for notify in self._on_change:
                notify(placement)

    def _open(self, server: Server) -> None:
        link = PeerLink(lambda: self._dial(server.internal), self._server_id, self._handler)
        self._links[server.server_id] = server, link, asyncio.create_task(link.run())

    def _drop(self, server_id: str) -> None:
        _, link, task = self._links.pop(server_id)
        if self._handler is not None and link.was_down_for(_LEASE_SECONDS):
            # What that server had for the sessions here went with it, and its successor may not know of it any more.
            self._handler.deliveries_lost()
        task.cancel()
        link.close()

    async def _ask(self, channel_id: str, actor_id: str, action: Action | Aside) -> Accepted:
        reply = FutureReply()
        self.post(ChannelRequest(channel_id, actor_id, action, reply))
        return await reply.accepted()
