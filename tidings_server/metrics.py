"""Metrics for Prometheus, on a port of their own that is off unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from tidings.rpc.server import ListenError


class Metrics:
    """The metrics of this process."""

    def __init__(self) -> None:
        """Knows what the operating system tells about the process; services enter more into `registry`."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._server: tuple[WSGIServer, Thread] | None = None

    def chat(self, sessions: Callable[[], int], channels: Callable[[], int], accepted: Callable[[], int]) -> None:
        """Enters what a chat server tells: streams, channels in memory, messages accepted since it began."""
        Gauge("tidings_sessions", "Streams of devices", registry=self.registry).set_function(sessions)
        Gauge("tidings_channels", "Channels owned and in memory", registry=self.registry).set_function(channels)
        self.registry.register(_Count("tidings_messages_accepted", "Messages accepted", accepted))

    def start(self, listen: str) -> None:
        """Serves HTTP at HOST:PORT; nothing happens when that is empty.

        Raises:
            ListenError: The address cannot be listened at.
        """
        if not listen:
            return
        host, _, port = listen.rpartition(":")
        try:
            self._server = start_http_server(int(port), host.strip("[]"), self.registry)
        except (OSError, ValueError, OverflowError) as error:
            raise ListenError(f"metrics cannot be served at {listen}: {error}") from error

    def stop(self) -> None:
        """Stops serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None


class _Count(Collector):
    """A number that somebody else counts."""

    def __init__(self, name: str, help_text: str, count: Callable[[], int]) -> None:
        self._name = name
        self._help = help_text
        self._count = count

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._count())
