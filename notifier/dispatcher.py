"""From the queue to the providers: at least once, and rarely twice.

Every push in the queue is for one device, and every provider has a worker of its own: its own bound of sends under way,
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
from tidings.rpc.tasks import periodic

_log = logging.getLogger(__name__)

# A look at the queue without having been woken, in seconds: an operator may have requeued something, another notifier
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
    """Bounds of the sends to each provider.

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
    """Sends the pushes in the queue that are due.

    A push for a device without a token is done with: the device was signed out, or its provider called the token gone.
    So is one that has become pointless, because its message has been read, say. A push whose provider is not among
    `providers` waits in the queue until a notifier has it.

    Args:
        queue: The pushes.
        tokens: Where to reach devices.
        providers: The way to them.
        compose: Makes the notices that devices show.
        clock: Tells the time.
        limits: Bounds for each provider.
        retry: When an attempt is repeated.
        rates: What a provider permits, where it is known; as fast as it answers otherwise.
        metrics: The counters.
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
        self.metrics = metrics or PushMetrics(CollectorRegistry(), clock)
        self._queue = queue
        context = _WorkerContext(
            queue, tokens, compose, clock, limits or DispatchLimits(), retry or RetryPolicy(), self.metrics
        )
        permitted = rates or {}
        self._workers = {
            kind: _ProviderWorker(kind, each, context, permitted.get(kind)) for kind, each in providers.items()
        }

    @property
    def providers(self) -> Collection[PushProvider]:
        """The kinds of providers."""
        return self._workers.keys()

    @property
    def silent_providers(self) -> Collection[PushProvider]:
        """The kinds that can tell a device something without showing it."""
        return {kind for kind, worker in self._workers.items() if worker.provider.can_be_silent}

    def wake(self) -> None:
        """Look at the queue now: there is something new."""
        for worker in self._workers.values():
            worker.woken.set()

    async def run(self) -> None:
        """Sends what is due, whenever it is, until cancelled; sends under way go on then, see `close`."""
        async with asyncio.TaskGroup() as workers:
            for worker in self._workers.values():
                workers.create_task(worker.run())
            workers.create_task(periodic(_DEPTH_EVERY, self._measure_depth, at_once=True))

    async def start_due(self) -> None:
        """Begins to send what is due now, as far as the bounds allow."""
        for worker in self._workers.values():
            await worker.start_due()

    async def drain(self) -> None:
        """Waits for the sends under way."""
        while under_way := [task for worker in self._workers.values() for task in worker.under_way]:
            await asyncio.wait(under_way)

    async def close(self) -> None:
        """Waits for the sends under way (they take at most `DispatchLimits.timeout`), then closes the providers.

        `run` must have ended.
        """
        await self.drain()
        for worker in self._workers.values():
            await worker.provider.close()

    async def _measure_depth(self) -> None:
        try:
            self.metrics.depth(await self._queue.depth())
        except Refusal as refusal:
            _log.warning("the depth of the push queue is not known: %s", refusal)


@dataclass(frozen=True, slots=True)
class _WorkerContext:
    """The parts that all workers share."""

    queue: PushQueue
    tokens: PushTokenStore
    compose: Compose
    clock: Clock
    limits: DispatchLimits
    retry: RetryPolicy
    metrics: PushMetrics


class _ProviderWorker:
    """One provider's sends."""

    def __init__(self, kind: PushProvider, provider: Provider, context: _WorkerContext, rate: Rate | None) -> None:
        self.provider = provider
        self.breaker = Breaker(context.clock, context.limits.breaker)
        self._rate = rate
        self._bucket = TokenBucket(rate, context.clock.monotonic()) if rate is not None else None
        self.woken = asyncio.Event()
        self.under_way: set[asyncio.Task[None]] = set()
        self._kind = kind
        self._context = context
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
        """Start as many sends as the bounds allow.

        Returns:
            The seconds until there is something to do, unless woken before.
        """
        context, limits = self._context, self._context.limits
        free = limits.concurrency - len(self.under_way)
        slots = self._permitted(self.breaker.free_slots(free)) if free > 0 else 0
        claimed = await self._claim(slots) if slots > 0 else ()
        if claimed:
            self.breaker.ask()
            self._take(len(claimed))
        for push in claimed:
            task = asyncio.get_running_loop().create_task(self._send(push, self.breaker.era))
            self.under_way.add(task)
            task.add_done_callback(self._ended)
        self._full = len(claimed) == free or free <= 0
        if self._full:
            # A send that ends wakes the worker.
            return _LONGEST_WAIT
        if len(claimed) == slots:
            return min(_LONGEST_WAIT, self._wait())
        due_ms = await context.queue.next_due_ms(self._kind)
        if due_ms is None:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, (due_ms - context.clock.now_ms()) / 1000))

    async def _claim(self, slots: int) -> Collection[QueuedPush]:
        context = self._context
        lease_ms = round(context.limits.lease * 1000)
        return await context.queue.claim(self._kind, context.clock.now_ms(), lease_ms, slots)

    def _permitted(self, wanted: int) -> int:
        """How many of `wanted` pushes the rate permits now."""
        if self._bucket is None or self._rate is None:
            return wanted
        now = self._context.clock.monotonic()
        while wanted and self._bucket.wait(self._rate, now, wanted):
            wanted -= 1
        return wanted

    def _take(self, count: int) -> None:
        if self._bucket is not None and self._rate is not None:
            self._bucket.take(self._rate, self._context.clock.monotonic(), count)

    def _wait(self) -> float:
        """Seconds until the breaker and the rate let something out, unless woken before."""
        wait = self.breaker.wait()
        if wait is None:
            return _LONGEST_WAIT
        if self._bucket is not None and self._rate is not None:
            wait = max(wait, self._bucket.wait(self._rate, self._context.clock.monotonic()))
        return wait

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        # Half of the slots are claimed at a time: one transaction for each push would be the larger part of the work.
        if self._full and len(self.under_way) <= self._context.limits.concurrency // 2:
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
        context, push = self._context, queued.push
        token = await context.tokens.of_device(push.device_id)
        # A device that has come to another provider since has been in the app meanwhile. One that has come to
        # another person must not show this one's messages.
        notice = None
        if token is not None and token.provider is self._kind and token.user_id == push.request.user_id:
            notice = await context.compose(push.request, token.preview, self.provider.counts_all)
        # Composing takes a while: to a device that was signed out meanwhile nothing goes.
        if token is None or notice is None or await context.tokens.of_device(push.device_id) != token:
            context.metrics.dropped(self._kind)
            await context.queue.done(queued.push_id)
            return
        outcome = await self._attempt(token.token, notice, queued.push_id)
        if isinstance(outcome, Gone):
            await context.tokens.remove(push.device_id, token.token)
        await self._settle(queued, outcome, era)

    async def _attempt(self, token: str, notice: Notice, push_id: int) -> Outcome:
        try:
            async with asyncio.timeout(self._context.limits.timeout):
                return await self.provider.send(token, notice)
        except TimeoutError:
            return Retry("timeout", is_down=True)
        except Exception as error:
            _log.error("%s: push %d failed", self._kind.name, push_id, exc_info=without_message(error))
            return Retry("unexpected", is_down=True)

    async def _settle(self, queued: QueuedPush, outcome: Outcome, era: int) -> None:
        context, kind, breaker = self._context, self._kind, self.breaker
        queue, now_ms = context.queue, context.clock.now_ms()
        is_down = isinstance(outcome, Retry) and outcome.is_down
        if not is_down and breaker.succeeded():
            _log.info("%s: the provider works again", kind.name)
            context.metrics.down(kind, False)
            self.woken.set()
        match outcome:
            case Sent():
                context.metrics.sent(kind)
                await queue.done(queued.push_id)
            case Gone(reason):
                context.metrics.failed(kind, reason)
                await queue.done(queued.push_id)
            case Failed(reason):
                await self._give_up(queued, reason, now_ms)
            case Retry(reason, after, is_down):
                context.metrics.retried(kind, reason)
                if is_down and era != breaker.era:
                    # It was under way when others found the provider down: back into its place.
                    await queue.retry(queued.push_id, queued.queued_at_ms, failed=False)
                    return
                if is_down and breaker.failed(era, after):
                    _log.warning("%s: the provider is down, and left alone for a while: %s", kind.name, reason)
                    context.metrics.down(kind, True)
                if is_down and breaker.is_open and queued.attempts < _ASKS_IN_PLACE:
                    await queue.retry(queued.push_id, queued.queued_at_ms)
                    return
                failures = queued.attempts + 1
                if is_down and now_ms - queued.queued_at_ms < context.limits.outage * 1000:
                    # The provider's trouble is no reason to give up a push.
                    failures = min(failures, context.retry.attempts - 1)
                delay = context.retry.delay(failures, after)
                if delay is None:
                    await self._give_up(queued, reason, now_ms)
                else:
                    _log.info("%s: push %d in %.1f s again: %s", kind.name, queued.push_id, delay, reason)
                    await queue.retry(queued.push_id, now_ms + round(delay * 1000))
                    self.woken.set()

    async def _give_up(self, queued: QueuedPush, reason: str, now_ms: int) -> None:
        self._context.metrics.failed(self._kind, reason)
        if queued.push.request.silent:
            # There was nothing to show, and the next push brings the count.
            await self._context.queue.done(queued.push_id)
            return
        _log.warning(
            "%s: push %d given up after %d attempts: %s", self._kind.name, queued.push_id, queued.attempts + 1, reason
        )
        await self._context.queue.give_up(queued.push_id, reason, now_ms)
