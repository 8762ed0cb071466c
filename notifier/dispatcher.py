"""From the queue to the providers: at least once, and rarely twice.

Every push in the queue is for one device, and every provider has a lane of its own: its own bound of sends under way,
its own claims. So a device that must be tried again does not hold back the person's other devices, which are not sent
to again with it; and a provider that hangs delays no other.

A push goes out twice only when the process dies, or the storage fails, between the provider's yes and the note of it.

A provider that is down is left alone by its breaker. What waits for it keeps its place meanwhile, so that the backlog
goes out in order of age when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from notifier.breaker import Breaker, BreakerPolicy
from notifier.metrics import PushMetrics
from notifier.notice import Compose, Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from notifier.retry import RetryPolicy
from tidings.core.clock import Clock
from tidings.core.errors import Refusal, without_message
from tidings.core.ports import PushQueue, PushTokenStore, QueuedPush
from tidings.core.rate import Rate, TokenBucket
from tidings.core.values import PushProvider

_log = logging.getLogger(__name__)

# A look at the queue without having been woken, in seconds: an operator may have replayed something, another notifier
# may have died, the clock may have been set.
_LONGEST_WAIT = 10.0
# A push that asks whether the provider is back keeps its place so often. Then another asks: it may be this one's fault.
_ASKS_IN_PLACE = 3
# Between two looks at how full the queue is, in seconds.
_DEPTH_EVERY = 5.0
# After the queue has not answered, in seconds.
_RECOVERY = 1.0


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of each provider's lane.

    Args:
        concurrency: Sends under way; at most so many go out twice when the process is killed.
        timeout: Seconds that a send may take.
        lease: Seconds after which a claimed push that was not finished is due again: well beyond the timeout, and what
            the pushes wait for that a notifier had under way when it was killed.
        breaker: When a provider is left alone.
        outage: Seconds for which a push is kept, whatever its attempts, while its provider is down.
    """

    concurrency: int = 8
    timeout: float = 15.0
    lease: float = 30.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    outage: float = 86_400.0


class Dispatcher:
    """Sends what is due.

    A push for a device without a token is done with: the device was signed out, or its provider called the token gone.
    So is one that has become pointless, because its message has been read, say.
    """

    def __init__(
        self,
        queue: PushQueue,
        tokens: PushTokenStore,
        providers: Mapping[PushProvider, Provider],
        compose: Compose,
        clock: Clock,
        limits: DispatchLimits | None = None,
        retry: RetryPolicy | None = None,
        rates: Mapping[PushProvider, Rate] | None = None,
        metrics: PushMetrics | None = None,
    ) -> None:
        """Sends what `queue` holds through `providers`, to the devices that `tokens` knows.

        A push whose provider is not among them waits in the queue until a notifier has it.

        Args:
            queue: What is to be sent.
            tokens: Where to.
            providers: How.
            compose: Makes what devices show.
            clock: Tells the time.
            limits: Bounds of each lane.
            retry: When an attempt is repeated.
            rates: What a provider permits, where it is known; as fast as it answers otherwise.
            metrics: What is counted.
        """
        self.metrics = metrics or PushMetrics(CollectorRegistry(), clock)
        self._queue = queue
        ways = _Ways(queue, tokens, compose, clock, limits or DispatchLimits(), retry or RetryPolicy(), self.metrics)
        permitted = rates or {}
        self._lanes = {kind: _Lane(kind, each, ways, permitted.get(kind)) for kind, each in providers.items()}

    @property
    def providers(self) -> Collection[PushProvider]:
        """The providers there are."""
        return self._lanes.keys()

    @property
    def silent_providers(self) -> Collection[PushProvider]:
        """Those that can tell a device something without showing it."""
        return {kind for kind, lane in self._lanes.items() if lane.provider.can_be_silent}

    def wake(self) -> None:
        """Something new is in the queue."""
        for lane in self._lanes.values():
            lane.woken.set()

    async def run(self) -> None:
        """Sends what is due, whenever it is, until cancelled; sends under way go on then, see `close`."""
        async with asyncio.TaskGroup() as lanes:
            for lane in self._lanes.values():
                lanes.create_task(lane.run())
            lanes.create_task(self._watch_depth())

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

    async def _watch_depth(self) -> None:
        while True:
            try:
                self.metrics.depth(await self._queue.depth())
            except Refusal as refusal:
                _log.warning("the depth of the push queue is not known: %s", refusal)
            await asyncio.sleep(_DEPTH_EVERY)


@dataclass(frozen=True, slots=True)
class _Ways:
    """What all lanes share."""

    queue: PushQueue
    tokens: PushTokenStore
    compose: Compose
    clock: Clock
    limits: DispatchLimits
    retry: RetryPolicy
    metrics: PushMetrics


class _Lane:
    """One provider's sends."""

    def __init__(self, kind: PushProvider, provider: Provider, ways: _Ways, rate: Rate | None) -> None:
        self.provider = provider
        self.breaker = Breaker(ways.clock, ways.limits.breaker)
        self._rate = rate
        self._bucket = TokenBucket(rate, ways.clock.monotonic()) if rate is not None else None
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
        free = limits.concurrency - len(self.under_way)
        room = self._permitted(self.breaker.room(free)) if free > 0 else 0
        claimed = await self._claim(room) if room > 0 else ()
        if claimed:
            self.breaker.ask()
            self._take(len(claimed))
        for push in claimed:
            task = asyncio.get_running_loop().create_task(self._send(push, self.breaker.era))
            self.under_way.add(task)
            task.add_done_callback(self._ended)
        self._full = len(claimed) == free or free <= 0
        if self._full:
            # A send that ends wakes the lane.
            return _LONGEST_WAIT
        if len(claimed) == room:
            return min(_LONGEST_WAIT, self._wait())
        due_ms = await ways.queue.next_due_ms(self._kind)
        if due_ms is None:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, (due_ms - ways.clock.now_ms()) / 1000))

    async def _claim(self, room: int) -> Collection[QueuedPush]:
        ways = self._ways
        lease_ms = round(ways.limits.lease * 1000)
        return await ways.queue.claim(self._kind, ways.clock.now_ms(), lease_ms, room)

    def _permitted(self, wanted: int) -> int:
        """How many of `wanted` pushes the rate permits now."""
        if self._bucket is None or self._rate is None:
            return wanted
        now = self._ways.clock.monotonic()
        while wanted and self._bucket.wait(self._rate, now, wanted):
            wanted -= 1
        return wanted

    def _take(self, count: int) -> None:
        if self._bucket is not None and self._rate is not None:
            self._bucket.take(self._rate, self._ways.clock.monotonic(), count)

    def _wait(self) -> float:
        """Seconds until the breaker and the rate let something out, unless woken before."""
        wait = self.breaker.wait()
        if wait is None:
            return _LONGEST_WAIT
        if self._bucket is not None and self._rate is not None:
            wait = max(wait, self._bucket.wait(self._rate, self._ways.clock.monotonic()))
        return wait

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        # Half a lane is claimed at a time: one transaction for each push would be the larger part of the work.
        if self._full and len(self.under_way) <= self._ways.limits.concurrency // 2:
            self.woken.set()

    async def _send(self, queued: QueuedPush, era: int) -> None:
        try:
            await self._send_and_settle(queued, era)
        except Refusal as refusal:
            _log.warning("%s: push %d waits for the end of its lease: %s", self._kind.name, queued.push_id, refusal)
        except Exception as error:
            _log.error("%s: push %d failed", self._kind.name, queued.push_id, exc_info=without_message(error))
        finally:
            # Whatever became of it: another may go out in its place.
            self.breaker.undecided(era)
            if self.breaker.is_open:
                self.woken.set()

    async def _send_and_settle(self, queued: QueuedPush, era: int) -> None:
        ways, push = self._ways, queued.push
        token = await ways.tokens.of_device(push.device_id)
        # A device that has come to another provider since has been in the app meanwhile. One that has come to
        # another person must not show this one's messages.
        notice = None
        if token is not None and token.provider is self._kind and token.user_id == push.request.user_id:
            notice = await ways.compose(push.request, token.preview, self.provider.counts_all)
        if token is None or notice is None:
            ways.metrics.dropped(self._kind)
            await ways.queue.done(queued.push_id)
            return
        outcome = await self._attempt(token.token, notice, queued.push_id)
        if isinstance(outcome, Gone):
            await ways.tokens.remove(push.device_id, token.token)
        await self._settle(queued, outcome, era)

    async def _attempt(self, token: str, notice: Notice, push_id: int) -> Outcome:
        try:
            async with asyncio.timeout(self._ways.limits.timeout):
                return await self.provider.send(token, notice)
        except TimeoutError:
            return Retry("timeout", is_down=True)
        except Exception as error:
            _log.error("%s: push %d failed", self._kind.name, push_id, exc_info=without_message(error))
            return Retry("unexpected", is_down=True)

    async def _settle(self, queued: QueuedPush, outcome: Outcome, era: int) -> None:
        ways, kind, breaker = self._ways, self._kind, self.breaker
        queue, now_ms = ways.queue, ways.clock.now_ms()
        is_down = isinstance(outcome, Retry) and outcome.is_down
        if not is_down and breaker.succeeded():
            _log.info("%s: the provider works again", kind.name)
            ways.metrics.down(kind, False)
            self.woken.set()
        match outcome:
            case Sent():
                ways.metrics.sent(kind)
                await queue.done(queued.push_id)
            case Gone(reason):
                ways.metrics.failed(kind, reason)
                await queue.done(queued.push_id)
            case Failed(reason):
                await self._give_up(queued, reason, now_ms)
            case Retry(reason, after, is_down):
                ways.metrics.retried(kind, reason)
                if is_down and era != breaker.era:
                    # It was under way when others found the provider down: back into its place.
                    await queue.retry(queued.push_id, queued.queued_at_ms, failed=False)
                    return
                if is_down and breaker.failed(era, after):
                    _log.warning("%s: the provider is down, and left alone for a while: %s", kind.name, reason)
                    ways.metrics.down(kind, True)
                if is_down and breaker.is_open and queued.attempts < _ASKS_IN_PLACE:
                    await queue.retry(queued.push_id, queued.queued_at_ms)
                    return
                failures = queued.attempts + 1
                if is_down and now_ms - queued.queued_at_ms < ways.limits.outage * 1000:
                    # The provider's trouble is no reason to give up a push.
                    failures = min(failures, ways.retry.attempts - 1)
                delay = ways.retry.delay(failures, after)
                if delay is None:
                    await self._give_up(queued, reason, now_ms)
                else:
                    _log.info("%s: push %d in %.1f s again: %s", kind.name, queued.push_id, delay, reason)
                    await queue.retry(queued.push_id, now_ms + round(delay * 1000))
                    self.woken.set()

    async def _give_up(self, queued: QueuedPush, reason: str, now_ms: int) -> None:
        self._ways.metrics.failed(self._kind, reason)
        if queued.push.request.silent:
            # There was nothing to show, and the next push brings the count.
            await self._ways.queue.done(queued.push_id)
            return
        _log.warning(
            "%s: push %d given up after %d attempts: %s", self._kind.name, queued.push_id, queued.attempts + 1, reason
        )
        await self._ways.queue.give_up(queued.push_id, reason, now_ms)
