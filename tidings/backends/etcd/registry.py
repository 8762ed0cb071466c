"""The registry of the servers alive, in etcd."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing

from tidings.backends.etcd.client import EtcdClient, KeyChange, LeaseGone, pause
from tidings.backends.servers_view import ServersView
from tidings.core.errors import Refusal, unavailable, without_message
from tidings.core.ports import Registry
from tidings.core.reasons import Reason
from tidings.core.values import Server, ServerKind

_log = logging.getLogger(__name__)

LEASE_SECONDS = 5
_START_SECONDS = 5.0
_FIELDS = {each.name for each in dataclasses.fields(Server)}


class EtcdRegistry(Registry):
    """Registers servers in etcd under a lease of this process, and keeps a view of all servers by a watch.

    The view goes on answering when etcd is away. When etcd comes back and all leases have run out, the view does not
    lose all servers at once: a server that leaves shortly after an outage of etcd stays in the view for the time of one
    lease, in which the servers that are alive register again.

    `start` it before use.

    Args:
        etcd: The client of etcd; the caller closes it.
        registered_again: Called when the servers of this process had left the registry and have been registered again.
            They leave when the process was paused for longer than its lease, for instance, or etcd has lost its data.
        lease_seconds: After how long a process that has died leaves the registry.
    """

    def __init__(
        self, etcd: EtcdClient, registered_again: Callable[[], None] = lambda: None, lease_seconds: int = LEASE_SECONDS
    ) -> None:
        self._etcd = etcd
        self._registered_again = registered_again
        self._lease_seconds = lease_seconds
        self._prefix = etcd.prefix + b"servers/"
        self._view = ServersView()
        # The servers seen, and the timers of those that are about to leave the view, by key.
        self._seen: dict[bytes, Server] = {}
        self._leaving: dict[bytes, asyncio.TimerHandle] = {}
        self._in_doubt_until = 0.0
        self._has_view = asyncio.Event()
        # The servers that this process registers, and those that etcd has under its lease (0: there is no lease).
        self._wanted: dict[bytes, bytes] = {}
        self._stored: dict[bytes, bytes] = {}
        self._lease = 0
        self._was_lost = False
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow the servers, and wait for the first view.

        Raises:
            Refusal: UNAVAILABLE when there is no view after 5 s. The registry goes on trying until it is closed.
        """
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._uphold())]
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._has_view.wait()
        except TimeoutError:
            raise unavailable("etcd is away, and the servers are not known", Reason.ENGINE_UNAVAILABLE) from None

    async def close(self) -> None:
        """End, and take the servers of this process out of etcd. Without etcd they leave when the lease runs out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for timer in self._leaving.values():
            timer.cancel()
        lease, self._lease = self._lease, 0
        if lease:
            try:
                await self._etcd.revoke(lease)
            except Refusal as refusal:
                _log.warning("the servers of this process leave when their lease runs out: %s", refusal)

    async def register(self, server: Server) -> None:
        """See `Registry.register`. If etcd is away, the server is registered as soon as etcd is back."""
        self._wanted[self._key(server.server_id, server.kind)] = _encode(server)
        await self._store()

    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """See `Registry.unregister`. If etcd is away, the server is taken out as soon as etcd is back."""
        key = self._key(server_id, kind)
        self._wanted.pop(key, None)
        if key in self._stored:
            await self._store()
        else:
            await self._etcd.delete(key)

    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """See `Registry.servers`."""
        return self._view.servers(kind)

    def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """See `Registry.watch`."""
        return self._view.watch(kind)

    # --- the servers of this process ----------------------------------------------------------------------------------

    async def _store(self) -> None:
        """Bring etcd up to date with the servers of this process, under a lease that is alive."""
        async with self._lock:
            while True:
                try:
                    await self._store_under_lease()
                except LeaseGone:
                    self._lease_gone(self._lease)
                else:
                    break
            if self._was_lost:
                self._was_lost = False
                self._registered_again()

    async def _store_under_lease(self) -> None:
        if not self._lease:
            self._lease = await self._etcd.grant(self._lease_seconds)
            self._stored = {}
        for key in self._stored.keys() - self._wanted.keys():
            await self._etcd.delete(key)
            del self._stored[key]
        for key, value in list(self._wanted.items()):
            if self._stored.get(key) != value:
                await self._etcd.put(key, value, self._lease)
                self._stored[key] = value

    def _lease_gone(self, lease: int) -> None:
        if lease == self._lease:
            self._lease = 0
            self._was_lost = bool(self._wanted)

    async def _uphold(self) -> None:
        """Keep the lease alive, and notice when etcd is away."""
        while True:
            try:
                await self._store()
                lease = self._lease
                async with aclosing(self._etcd.kept(lease, self._lease_seconds)) as answers:
                    async for answered in answers:
                        if not answered:
                            self._doubt()
                        elif lease == self._lease:
                            await self._store()
                        else:
                            break
                    else:
                        _log.warning("the lease of this process has run out")
                        self._doubt()
                        self._lease_gone(lease)
            except Exception as error:
                _report("this process is not registered", error)
                self._doubt()
                await pause()

    # --- what all say -------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Keep the view up to date."""
        while True:
            try:
                revision, values = await self._etcd.get(self._prefix)
                for key in self._seen.keys() - dict(values).keys():
                    self._leave(key)
                self._take(values)
                self._has_view.set()
                async for changes in self._etcd.watch(self._prefix, revision + 1):
                    self._take(changes)
            except Exception as error:
                _report("the view of the servers stays as it is", error)
            # A server that is missing when the keys are read again may be about to register again.
            self._doubt()
            await pause()

    def _take(self, changes: Iterable[KeyChange]) -> None:
        for key, value in changes:
            if value is None:
                self._leave(key)
            else:
                self._enter(key, value)

    def _enter(self, key: bytes, value: bytes) -> None:
        try:
            server = _decode(value)
        except (ValueError, TypeError) as error:
            # Of a later version, perhaps. Such a server is not for this process.
            _log.warning("a server in etcd is not understood: %r: %s", key, error)
            return
        timer = self._leaving.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._seen[key] = server
        self._view.put(server)

    def _leave(self, key: bytes) -> None:
        if key not in self._seen or key in self._leaving:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._in_doubt_until:
            self._leaving[key] = loop.call_later(self._lease_seconds, self._drop, key)
        else:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        self._leaving.pop(key, None)
        server = self._seen.pop(key)
        self._view.drop(server.server_id, server.kind)

    def _doubt(self) -> None:
        self._in_doubt_until = asyncio.get_running_loop().time() + self._lease_seconds

    def _key(self, server_id: str, kind: ServerKind) -> bytes:
        return self._prefix + f"{kind.name.lower()}/{server_id}".encode()


def _report(what: str, error: Exception) -> None:
    """Log why something is tried again, as it is after every error."""
    if isinstance(error, Refusal):
        _log.warning("%s: %s", what, error)
    else:
        _log.error("%s", what, exc_info=without_message(error))


def _encode(server: Server) -> bytes:
    return json.dumps(dataclasses.asdict(server)).encode()


def _decode(value: bytes) -> Server:
    """Decode a server without unknown fields, which other processes may write during an upgrade."""
    fields = {name: each for name, each in json.loads(value).items() if name in _FIELDS}
    return Server(**{**fields, "kind": ServerKind(fields["kind"])})
