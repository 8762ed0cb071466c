"""Metrics for Prometheus, on a port of their own that is off unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from tidings.rpc.server import ListenError
from tidings_server.engines import ChatHost
from tidings_server.metrics_listener import MetricsListener


class Metrics:
    """The metrics of this process: what the operating system tells about it, and what services add to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._listener: MetricsListener | None = None

    def chat(self, host: ChatHost) -> None:
        """Add those of a chat server: streams, channels in memory, messages accepted since it began."""
        sessions, channels = host.chat.sessions, host.channels
        streams = Gauge("tidings_sessions", "Streams of devices", registry=self.registry)
        streams.set_function(lambda: len(sessions))
        loaded = Gauge("tidings_channels", "Channels owned and in memory", registry=self.registry)
        loaded.set_function(lambda: len(channels.sequencer))
        accepted = _Count("tidings_messages_accepted", "Messages accepted", lambda: channels.messages_accepted)
        self.registry.register(accepted)

    def start(self, listen: str) -> None:
        """Serve HTTP at HOST:PORT; nothing happens when that is empty.

        Raises:
            ListenError: The address cannot be listened at.
        """
        if not listen:
            return
        host, _, port = listen.rpartition(":")
        try:
            self._listener = MetricsListener(host.strip("[]"), int(port), self.registry)
        except (OSError, ValueError, OverflowError) as error:
            raise ListenError(f"metrics cannot be served at {listen}: {error}") from error

    def stop(self) -> None:
        """Stop serving."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None


class _Count(Collector):
    """A counter whose number is kept elsewhere."""

    def __init__(self, name: str, help_text: str, count: Callable[[], int]) -> None:
        self._name = name
        self._help = help_text
        self._count = count

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._count())
