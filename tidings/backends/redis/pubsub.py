"""Pub/sub at one Redis server, for all subscribers of a process."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from tidings.backends.redis.pipeline import AWAY, Argument, AutoPipeline, connect, read
from tidings.core.errors import Refusal, without_message

_log = logging.getLogger(__name__)

_PING_SECONDS = 0.5
_SILENCE_SECONDS = 2.0
"""Less than `REPLY_SECONDS`: a caller that lost an answer because the server stood still also hears of a gap."""
_EPOCH_SECONDS = 1.0
_RETRY_SECONDS = 1.0

Notify = Callable[[bytes], None]
Unsubscribe = Callable[[], None]


class GapListeners:
    """The subscribers to tell when messages may have been lost."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[], None]] = {}

    def add(self, listener: Callable[[], None], unsubscribe: Unsubscribe) -> Unsubscribe:
        """Call `listener` at every gap until the subscription ends.

        Args:
            listener: Called when messages may have been lost.
            unsubscribe: Ends the subscription of the same subscriber.

        Returns:
            What ends both.
        """
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)
            unsubscribe()

        return end

    def notify(self) -> None:
        """Tell all subscribers that messages may have been lost."""
        for listener in list(self._listeners.values()):
            listener()


class PubSubConnection:
    """The subscriptions of a process at one Redis server, over one connection.

    The connection is made for the first subscription. Redis forgets messages that it cannot deliver at once, so `gap`
    is called whenever messages may have been lost: after a lost or silent connection, as soon as everything is
    subscribed again; and when the server has lost its data.

    Args:
        pipeline: The server.
        epoch_key: The key that tells when the server was wiped; see `AutoPipeline.epoch`.
        gap: Called when messages may have been lost.
    """

    def __init__(self, pipeline: AutoPipeline, epoch_key: str, gap: Callable[[], None]) -> None:
        self._pipeline = pipeline
        self._epoch_key = epoch_key
        self._gap = gap
        self._listeners: dict[bytes, dict[object, Notify]] = {}
        # Channels whose listeners have changed, and callers that wait until the server knows of it.
        self._changed: set[bytes] = set()
        self._waiters: list[asyncio.Future[None]] = []
        # By number of a ping: the callers that wait for it. The server answers in order, so a pong shows that
        # everything sent before its ping is done.
        self._pings: dict[int, list[asyncio.Future[None]]] = {}
        self._pinged = 0
        self._wake = asyncio.Event()
        self._has_lost = False
        self._epoch = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch the server for gaps, even without a subscription."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def add(self, channel: str, notify: Notify) -> Unsubscribe:
        """Call `notify` with every message of a channel from now on, until the function returned is called.

        Raises:
            Refusal: UNAVAILABLE when the server is away.
        """
        self.start()
        name = channel.encode()
        key = object()
        self._listeners.setdefault(name, {})[key] = notify
        self._touch(name)

        def remove() -> None:
            listeners = self._listeners.get(name, {})
            if listeners.pop(key, None) is not None and not listeners:
                del self._listeners[name]
                self._touch(name)

        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            remove()
            raise
        return remove

    async def close(self) -> None:
        """Close the connection; callers that still wait for a subscription are refused."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._lost(RedisConnectionError("closed"))

    def _touch(self, name: bytes) -> None:
        self._changed.add(name)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            connection = self._pipeline.connection()
            try:
                await self._connected(connection)
            except* Exception as group:
                error = group.exceptions[0]
                # Every error is caught, because nothing else would make the subscriptions again.
                _log.warning(
                    "the subscriptions at Redis %s are interrupted: %s",
                    self._pipeline.name,
                    type(error).__name__,
                    exc_info=None if isinstance(error, AWAY) else without_message(error),
                )
                self._lost(error)
            finally:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(random.uniform(0.1, _RETRY_SECONDS))

    async def _connected(self, connection: Connection) -> None:
        await connect(connection)
        self._changed |= self._listeners.keys()
        if self._has_lost:
            # Ahead of the callers that wait already: their subscriptions have missed nothing before the gap is told.
            again: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            again.add_done_callback(self._whole_again)
            self._waiters.insert(0, again)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(connection))
            group.create_task(self._write(connection))
            group.create_task(self._watch_epoch())

    async def _write(self, connection: Connection) -> None:
        """Tell the server which subscriptions have changed, and ping it at least every half second."""
        subscribed: set[bytes] = set()
        while True:
            self._wake.clear()
            changed, self._changed = self._changed, set()
            wanted = {name for name in changed if name in self._listeners}
            commands: list[tuple[Argument, ...]] = []
            if wanted - subscribed:
                commands.append(("SUBSCRIBE", *(wanted - subscribed)))
            if (changed - wanted) & subscribed:
                commands.append(("UNSUBSCRIBE", *((changed - wanted) & subscribed)))
            subscribed = (subscribed | wanted) - (changed - wanted)
            self._pinged += 1
            self._pings[self._pinged], self._waiters = self._waiters, []
            commands.append(("PING", self._pinged))
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _read(self, connection: Connection) -> None:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await read(connection)
            # Without a subscription, the answer to a ping is its argument alone.
            kind, *rest = message if isinstance(message, list) else (b"pong", message)
            if kind == b"message":
                channel, body = rest
                self._tell(channel, body)
            elif kind == b"pong":
                for waiter in self._pings.pop(int(rest[0]), ()):
                    if not waiter.done():
                        waiter.set_result(None)

    async def _watch_epoch(self) -> None:
        while True:
            try:
                epoch = await self._pipeline.epoch(self._epoch_key)
            except Refusal:
                # The pings find out whether the server is away.
                pass
            else:
                before, self._epoch = self._epoch, epoch
                if before and before != epoch:
                    self._gap()
            await asyncio.sleep(_EPOCH_SECONDS)

    def _tell(self, channel: bytes, body: bytes) -> None:
        listeners = self._listeners.get(channel, {})
        for key in list(listeners):
            # A listener may have removed another one in the meantime.
            notify = listeners.get(key)
            if notify is not None:
                try:
                    notify(body)
                except Exception as error:
                    _log.error("a message on %r could not be taken", channel, exc_info=without_message(error))

    def _lost(self, error: BaseException) -> None:
        """Note that all subscriptions are lost, and refuse the callers that wait."""
        self._has_lost = True
        waiters = self._waiters + [waiter for waiters in self._pings.values() for waiter in waiters]
        self._waiters = []
        self._pings.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self._pipeline.away(error))

    def _whole_again(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._has_lost = False
            self._gap()
