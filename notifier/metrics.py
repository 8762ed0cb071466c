"""The metrics of a notifier, for operators."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidings.core.clock import Clock
from tidings.core.ports import PushQueueDepth
from tidings.core.values import PushProvider


class PushMetrics:
    """Counters of one notifier, and the depth of the queue, which is the same at every notifier on one queue.

    Args:
        registry: Where they are entered.
        clock: Tells how long the oldest push waits.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        by_provider, by_reason = ("provider",), ("provider", "reason")
        self._queued = Counter("tidings_push_queued", "Pushes taken into the queue", by_provider, registry=registry)
        self._sent = Counter("tidings_push_sent", "Pushes taken by a provider", by_provider, registry=registry)
        self._retried = Counter("tidings_push_retried", "Attempts to be repeated", by_reason, registry=registry)
        self._failed = Counter(
            "tidings_push_failed", "Pushes given up, or whose token is gone", by_reason, registry=registry
        )
        self._dropped = Counter(
            "tidings_push_dropped",
            "Pushes that nobody wants any more: read meanwhile, say",
            by_provider,
            registry=registry,
        )
        self._down = Gauge(
            "tidings_push_provider_down", "1 while the provider is left alone", by_provider, registry=registry
        )
        self._waiting = Gauge("tidings_push_waiting", "Pushes in the queue", registry=registry)
        self._dead = Gauge("tidings_push_dead_letters", "Pushes in the dead-letter list", registry=registry)
        self._oldest_ms = 0
        Gauge("tidings_push_oldest_waiting_seconds", "Age of the oldest in the queue", registry=registry).set_function(
            self._oldest_seconds
        )

    def queued(self, provider: PushProvider, count: int = 1) -> None:
        """Count pushes that are on stable storage."""
        self._queued.labels(provider.name).inc(count)

    def sent(self, provider: PushProvider) -> None:
        """Count a push that a provider has taken."""
        self._sent.labels(provider.name).inc()

    def retried(self, provider: PushProvider, reason: str) -> None:
        """Count a failed attempt that will be followed by another."""
        self._retried.labels(provider.name, reason).inc()

    def failed(self, provider: PushProvider, reason: str) -> None:
        """Count a push that was given up, or whose token is gone."""
        self._failed.labels(provider.name, reason).inc()

    def dropped(self, provider: PushProvider, count: int = 1) -> None:
        """Count pushes that have become pointless."""
        self._dropped.labels(provider.name).inc(count)

    def down(self, provider: PushProvider, is_down: bool) -> None:
        """Note whether a provider is left alone."""
        self._down.labels(provider.name).set(is_down)

    def depth(self, depth: PushQueueDepth) -> None:
        """Note the depth of the queue."""
        self._waiting.set(depth.waiting)
        self._dead.set(depth.dead)
        self._oldest_ms = depth.oldest_ms

    def _oldest_seconds(self) -> float:
        return max(0.0, (self._clock.now_ms() - self._oldest_ms) / 1000) if self._oldest_ms else 0.0
