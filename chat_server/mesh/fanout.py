"""From a committed batch to the sessions and inboxes of everyone in the channel, across servers.

A batch goes, in this order: to the sessions on this server; to the servers that hold other members' sessions, which
are looked up; to the members' inboxes; and, after one more look-up, to members who had no session at first. A device
that connects makes itself known before it reads its inbox. So either one of the two look-ups finds it, or the inbox
that it reads has the batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from chat_server.channels.fanout import Fanout, Item
from chat_server.mesh.routes import TrustedRoutes
from chat_server.sessions.registry import SessionRegistry
from tidings.core.errors import Refusal
from tidings.core.ports import Inbox, InboxCopy
from tidings.internal.v1 import peer_pb2
from tidings.mesh.peer_outbox import PeerOutbox, PeerReply, Peers
from tidings.rpc.tasks import whenever

_log = logging.getLogger(__name__)

# Batches looked up, or put into inboxes, together.
_TOGETHER = 256
_RETRY_SECONDS = 0.5
_LOOK_SECONDS = 0.01
# Between two writes to the inboxes, while there is much to write: what gathers meanwhile is one row for each user, not
# one for each batch; see WRITE_SECONDS in tidings/mesh/peer_link.py for what that saves.
_PUT_SECONDS = 0.1
_MUCH = 8


@dataclass(slots=True)
class _Batch:
    """New entries of a channel, on their way."""

    channel_id: str
    audience: Collection[str]
    items: Sequence[Item]
    absent: Collection[str] = ()
    """Who had no session when the batch went out."""


class MeshFanout(Fanout):
    """Delivers to the sessions of all servers of a mesh, and to the inboxes.

    Args:
        sessions: The sessions of this server.
        peers: What the other servers have coming.
        routes: Say which server holds whose sessions.
        inbox: Keeps every entry for devices that are away.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        peers: Peers,
        routes: TrustedRoutes,
        inbox: Inbox,
    ) -> None:
        self._sessions = sessions
        self._peers = peers
        self._routes = routes
        self._inbox = inbox
        self._outgoing: list[_Batch] = []
        self._copies: list[_Batch] = []
        self._ephemeral: list[tuple[Collection[str], bytes]] = []
        self._unfinished: defaultdict[str, int] = defaultdict(int)
        self._go_out = asyncio.Event()
        self._copy = asyncio.Event()

    def deliver(self, channel_id: str, audience: Collection[str], items: Sequence[Item]) -> None:
        """See `Fanout.deliver`."""
        self._sessions.deliver(channel_id, audience, items)
        self._unfinished[channel_id] += 1
        self._outgoing.append(_Batch(channel_id, audience, items))
        self._go_out.set()

    def send(self, users: Collection[str], frame: bytes) -> None:
        """See `Fanout.send`."""
        self._sessions.send(users, frame)
        self._ephemeral.append((users, frame))
        self._go_out.set()

    def is_finished(self, channel_id: str) -> bool:
        """Whether all entries of a channel are in the inboxes."""
        return channel_id not in self._unfinished

    async def run(self) -> None:
        """Send and copy, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(whenever(self._go_out, self._send_out, _RETRY_SECONDS))
            group.create_task(whenever(self._copy, self._put_paced, _RETRY_SECONDS))

    async def finish(self) -> None:
        """Wait until everything is in the inboxes."""
        while self._unfinished:
            await self._send_out()
            await self._put()
            # What `run` has in its hands is not here to be done.
            await asyncio.sleep(_LOOK_SECONDS)

    # --- to the sessions ----------------------------------------------------------------------------------------------

    async def _send_out(self) -> None:
        while self._outgoing or self._ephemeral:
            batches, self._outgoing = self._outgoing[:_TOGETHER], self._outgoing[_TOGETHER:]
            ephemeral, self._ephemeral = self._ephemeral[:_TOGETHER], self._ephemeral[_TOGETHER:]
            try:
                await self._send_these(batches, ephemeral)
            except BaseException:
                # Whoever takes them up, here or in `finish`, has them all.
                self._outgoing[:0] = batches
                raise
            self._copies += batches
            self._copy.set()

    async def _send_these(self, batches: Sequence[_Batch], ephemeral: Sequence[tuple[Collection[str], bytes]]) -> None:
        users = {user for batch in batches for user in batch.audience}
        users.update(user for audience, _ in ephemeral for user in audience)
        servers_of = await self._routes.lookup(users, self._peers.alive)
        for batch in batches:
            self._to_peers(batch, batch.audience, servers_of)
            batch.absent = [user for user in batch.audience if user not in servers_of and not self._sessions.has(user)]
        for audience, frame in ephemeral:
            for server_id, there in _by_server(audience, servers_of).items():
                self._peers.outbox(server_id).ephemeral(frame, there)

    def _to_peers(self, batch: _Batch, audience: Collection[str], servers_of: Mapping[str, Collection[str]]) -> None:
        going = {self._peers.outbox(server_id): there for server_id, there in _by_server(audience, servers_of).items()}
        for item in batch.items:
            if isinstance(item.origin, PeerReply):
                # Whatever the routes say: somebody there waits for the result.
                going.setdefault(item.origin.outbox, [])
        for outbox, there in going.items():
            outbox.deliver(batch.channel_id, [_entry(item, outbox) for item in batch.items], there)

    # --- to the inboxes -----------------------------------------------------------------------------------------------

    async def _put_paced(self) -> None:
        much = len(self._copies) >= _MUCH
        await self._put()
        if much:
            await asyncio.sleep(_PUT_SECONDS)

    async def _put(self) -> None:
        await self._put_some()
        while len(self._copies) >= _TOGETHER:
            await self._put_some()
        if self._copies:
            # They came meanwhile, and wait for others.
            self._copy.set()

    async def _put_some(self) -> None:
        """Copy some batches into the inboxes, then look once more for members who had no session."""
        if not self._copies:
            return
        batches, self._copies = self._copies[:_TOGETHER], self._copies[_TOGETHER:]
        try:
            await self._put_all(batches)
        except BaseException:
            self._copies[:0] = batches
            raise
        late = {user for batch in batches for user in batch.absent}
        servers_of = await self._routes.lookup(late, self._peers.alive) if late else {}
        for batch in batches:
            here = [user for user in batch.absent if self._sessions.has(user)]
            there = [user for user in batch.absent if user in servers_of]
            if here or there:
                # Whoever made it has had the result.
                items = [Item(item.frame, item.seq, item.position, entry=item.entry) for item in batch.items]
                if here:
                    self._sessions.deliver(batch.channel_id, here, items)
                if there:
                    self._to_peers(_Batch(batch.channel_id, there, items), there, servers_of)
            self._unfinished[batch.channel_id] -= 1
            if not self._unfinished[batch.channel_id]:
                del self._unfinished[batch.channel_id]

    async def _put_all(self, batches: Sequence[_Batch]) -> None:
        copies = [_copy_of(batch) for batch in batches]
        while True:
            try:
                await self._inbox.put(copies)
                return
            except Refusal as refusal:
                _log.warning("copies wait for the inboxes: %s", refusal)
            await asyncio.sleep(_RETRY_SECONDS)


def _entry(item: Item, outbox: PeerOutbox) -> peer_pb2.Entry:
    origin = item.origin
    request_id = origin.request_id if isinstance(origin, PeerReply) and origin.outbox is outbox else 0
    return peer_pb2.Entry(
        frame=item.frame,
        seq=item.seq,
        position=item.position,
        request_id=request_id,
        created_at_ms=item.created_at_ms if request_id else 0,
    )


def _copy_of(batch: _Batch) -> InboxCopy:
    entries = [item.entry for item in batch.items if item.entry is not None]
    return InboxCopy(batch.audience, batch.channel_id, entries)


def _by_server(audience: Iterable[str], servers_of: Mapping[str, Collection[str]]) -> Mapping[str, list[str]]:
    by_server: defaultdict[str, list[str]] = defaultdict(list)
    for user in audience:
        for server_id in servers_of.get(user, ()):
            by_server[server_id].append(user)
    return by_server
