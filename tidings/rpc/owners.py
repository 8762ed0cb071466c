"""The way to whichever chat server owns a channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from grpc import aio

from tidings.core.actions import Accepted, Action, Aside, Refresh, ShowTyping
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.ports import ChannelOwner, Registry
from tidings.core.ring import Ring
from tidings.core.values import Server, ServerKind
from tidings.rpc.link import Link, Listener, Outcome, Question

_log = logging.getLogger(__name__)

# An owner that has died takes its place in the ring with it when its lease has run out, and another one reads anew.
_REFRESH_ATTEMPTS = 12
_RETRY_SECONDS = 0.5
_TYPING_SECONDS = 1.0
# A link that was down for longer before its owner went was not down because the owner died.
_LEASE_SECONDS = 10.0


class Owners(ChannelOwner):
    """Links to all chat servers of a registry, and the ring that says which of them owns a channel.

    Ownership is for speed alone: two servers that disagree about it for a moment both work, and the conditional write
    keeps the log whole.
    """

    def __init__(
        self,
        registry: Registry,
        dial: Callable[[str], aio.Channel],
        server_id: str = "",
        listener: Listener | None = None,
    ) -> None:
        """Links to nobody before `run`.

        Args:
            registry: Tells which chat servers there are.
            dial: Makes a channel to an internal endpoint.
            server_id: This server, if it is a chat server itself: it needs no link to itself.
            listener: Takes what owners send for the sessions here.
        """
        self._registry = registry
        self._dial = dial
        self._server_id = server_id
        self._listener = listener
        self._links: dict[str, tuple[Server, Link, asyncio.Task[None]]] = {}
        self._ring = Ring()
        self._on_change: list[Callable[[Ring], None]] = []

    @property
    def ring(self) -> Ring:
        """The servers that own channels now."""
        return self._ring

    @property
    def links(self) -> Sequence[Link]:
        """The links to the chat servers there are, open or not."""
        return [link for _, link, _ in self._links.values()]

    def when_changed(self, notify: Callable[[Ring], None]) -> None:
        """Calls `notify` whenever channels may have changed hands."""
        self._on_change.append(notify)

    def link(self, channel_id: str) -> Link | None:
        """The link to a channel's owner; None when that is this server, or nobody."""
        found = self._links.get(self._ring.owner(channel_id) or "")
        return found[1] if found is not None else None

    def is_mine(self, channel_id: str) -> bool:
        """Whether this server owns a channel."""
        return bool(self._server_id) and self._ring.owner(channel_id) == self._server_id

    def ask(self, question: Question) -> None:
        """Asks a channel's owner, who is another server."""
        link = self.link(question.channel_id)
        if link is None:
            question.answer(unavailable("no chat server is there to own the channel", "NO_OWNER"))
        else:
            link.ask(question)

    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        """See `ChannelOwner.submit`."""
        return await self._ask(channel_id, actor_id, action)

    async def show_typing(self, channel_id: str, user_id: str, typing: bool) -> None:
        """Shows that somebody is typing. A lost answer counts as done: it would be stale news soon.

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
        """See `ChannelOwner.refresh`."""
        for attempt in range(_REFRESH_ATTEMPTS):
            try:
                await self._ask(channel_id, "", Refresh())
                return
            except Refusal as refusal:
                _log.warning("the owner of channel %s does not know of a change yet: %s", channel_id, refusal)
            if attempt < _REFRESH_ATTEMPTS - 1:
                await asyncio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """Follows the registry, until cancelled."""
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
        owning = {server_id for server_id, server in alive.items() if not server.draining}
        if owning != self._ring.server_ids:
            self._ring = ring = self._ring.changed(owning)
            for notify in self._on_change:
                notify(ring)

    def _open(self, server: Server) -> None:
        link = Link(lambda: self._dial(server.internal), self._server_id, self._listener)
        self._links[server.server_id] = server, link, asyncio.create_task(link.run())

    def _drop(self, server_id: str) -> None:
        _, link, task = self._links.pop(server_id)
        if self._listener is not None and link.was_down_for(_LEASE_SECONDS):
            # What that owner had for the sessions here went with it, and its successor may not know of it any more.
            self._listener.missed()
        task.cancel()
        link.close()

    async def _ask(self, channel_id: str, actor_id: str, action: Action | Aside) -> Accepted:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answer(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.ask(Question(channel_id, actor_id, action, answer))
        outcome = await future
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome
