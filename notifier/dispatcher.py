"""From the queue to the providers: at least once, and rarely twice.

Every push in the queue is for one device, and every provider has a lane of its own: its own bound of sends under way,
its own claims. So a device that must be tried again does not hold back the person's other devices, which are not sent
to again with it; and a provider that hangs delays no other.

A push goes out twice only when the process dies, or the storage fails, between the provider's yes and the note of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from notifier.retry import RetryPolicy
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.failures import without_message
from tidings.core.ports import PushQueue, PushTokenStore, QueuedPush
from tidings.core.values import PushProvider

_log = logging.getLogger(__name__)

# A look at the queue without having been woken, in seconds: the clock may have been set, and a lease of a notifier that
# died may have ended.
_LONGEST_WAIT = 60.0
# After the queue has not answered, in seconds.
_RECOVERY = 1.0


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of each provider's lane.

    Args:
        concurrency: Sends under way.
        timeout: Seconds that a send may take.
        lease: Seconds after which a claimed push that was not finished is due again; well beyond the timeout.
    """

    concurrency: int = 64
    timeout: float = 15.0
    lease: float = 60.0


class Dispatcher:
    """Sends what is due.

    A push for a device without a token is done with: the device was signed out, or its provider called the token gone.
    """

    def __init__(
        self,
        queue: PushQueue,
        tokens: PushTokenStore,
        providers: Mapping[PushProvider, Provider],
        clock: Clock,
        limits: DispatchLimits | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Sends what `queue` holds through `providers`, to the devices that `tokens` knows.

        A push whose provider is not among them waits in the queue until a notifier has it.
        """
        ways = _Ways(queue, tokens, clock, limits or DispatchLimits(), retry or RetryPolicy())
        self._lanes = {kind: _Lane(kind, provider, ways) for kind, provider in providers.items()}

    @property
    def providers(self) -> Collection[PushProvider]:
        """The providers there are."""
        return self._lanes.keys()

    def wake(self) -> None:
        """Something new is in the queue."""
        for lane in self._lanes.values():
            lane.woken.set()

    async def run(self) -> None:
        """Sends what is due, whenever it is, until cancelled; sends under way go on then, see `close`."""
        async with asyncio.TaskGroup() as lanes:
            for lane in self._lanes.values():
                lanes.create_task(lane.run())

    async def start_due(self) -> None:
        """Begins to send what is due now, as far as the bounds allow."""
        for lane in self._lanes.values():
            await lane.start_due()

    async def drain(self) -> None:
        """Waits for the sends under way."""
        while under_way := [task for lane in self._lanes.values() for task in lane.under_way]:
            await asyncio.wait(under_way)

    async def close(self) -> None:
        """Waits for the sends under way (they take at most `DispatchLimits.timeout`), then closes the providers.

        `run` must have ended.
        """
        await self.drain()
        for lane in self._lanes.values():
            await lane.provider.close()


@dataclass(frozen=True, slots=True)
class _Ways:
    """What all lanes share."""

    queue: PushQueue
    tokens: PushTokenStore
    clock: Clock
    limits: DispatchLimits
    retry: RetryPolicy


class _Lane:
    """One provider's sends."""

    def __init__(self, kind: PushProvider, provider: Provider, ways: _Ways) -> None:
        self.provider = provider
        self.woken = asyncio.Event()
        self.under_way: set[asyncio.Task[None]] = set()
        self._kind = kind
        self._ways = ways
        self._full = False

    async def run(self) -> None:
        while True:
            self.woken.clear()
            try:
                wait = await self.start_due()
            except Refusal as refusal:
                _log.warning("%s: the push queue waits: %s", self._kind.name, refusal)
                wait = _RECOVERY
            except Exception as error:
                _log.error("%s: the push queue failed", self._kind.name, exc_info=without_message(error))
                wait = _RECOVERY
            try:
                async with asyncio.timeout(wait):
                    await self.woken.wait()
            except TimeoutError:
                continue

    async def start_due(self) -> float:
        """Fills the lane.

        Returns:
            The seconds until there is something to do, unless woken before.
        """
        ways, limits = self._ways, self._ways.limits
        room = limits.concurrency - len(self.under_way)
        claimed = await self._claim(room) if room > 0 else ()
        for push in claimed:
            task = asyncio.get_running_loop().create_task(self._send(push))
            self.under_way.add(task)
            task.add_done_callback(self._ended)
        self._full = len(claimed) == room or room <= 0
        if self._full:
            # A send that ends wakes the lane.
            return _LONGEST_WAIT
        due_ms = await ways.queue.next_due_ms(self._kind)
        if due_ms is None:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, (due_ms - ways.clock.now_ms()) / 1000))

    async def _claim(self, room: int) -> Collection[QueuedPush]:
        ways = self._ways
        lease_ms = round(ways.limits.lease * 1000)
        return await ways.queue.claim(self._kind, ways.clock.now_ms(), lease_ms, room)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        # Half a lane is claimed at a time: one transaction for each push would be the larger part of the work.
        if self._full and len(self.under_way) <= self._ways.limits.concurrency // 2:
            self.woken.set()

    async def _send(self, queued: QueuedPush) -> None:
        ways, push = self._ways, queued.push
        try:
            token = await ways.tokens.of_device(push.device_id)
            # A device that has come to another provider since has been in the app meanwhile. One that has come to
            # another person must not show this one's messages.
            if token is None or token.provider is not self._kind or token.user_id != push.request.user_id:
                await ways.queue.done(queued.push_id)
                return
            outcome = await self._attempt(token.token, queued)
            if isinstance(outcome, Gone):
                await ways.tokens.remove(push.device_id, token.token)
            await self._settle(queued, outcome)
        except Refusal as refusal:
            _log.warning("%s: push %d waits for the end of its lease: %s", self._kind.name, queued.push_id, refusal)
        except Exception as error:
            _log.error("%s: push %d failed", self._kind.name, queued.push_id, exc_info=without_message(error))

    async def _attempt(self, token: str, queued: QueuedPush) -> Outcome:
        try:
            async with asyncio.timeout(self._ways.limits.timeout):
                return await self.provider.send(token, queued.push.request)
        except TimeoutError:
            return Retry("timeout")
        except Exception as error:
            _log.error("%s: push %d failed", self._kind.name, queued.push_id, exc_info=without_message(error))
            return Retry(type(error).__name__)

    async def _settle(self, queued: QueuedPush, outcome: Outcome) -> None:
        queue, now_ms = self._ways.queue, self._ways.clock.now_ms()
        match outcome:
            case Sent() | Gone():
                await queue.done(queued.push_id)
            case Failed(reason):
                await self._give_up(queued, reason, now_ms)
            case Retry(reason, after):
                delay = self._ways.retry.delay(queued.attempts + 1, after)
                if delay is None:
                    await self._give_up(queued, reason, now_ms)
                else:
                    _log.info("%s: push %d in %.1f s again: %s", self._kind.name, queued.push_id, delay, reason)
                    await queue.retry(queued.push_id, now_ms + round(delay * 1000))
                    self.woken.set()

    async def _give_up(self, queued: QueuedPush, reason: str, now_ms: int) -> None:
        _log.warning(
            "%s: push %d given up after %d attempts: %s", self._kind.name, queued.push_id, queued.attempts + 1, reason
        )
        await self._ways.queue.give_up(queued.push_id, reason, now_ms)
