"""Strangers who reach the port of the metrics."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from tests.support.waiting import eventually
from tidings_server.metrics_listener import CONNECTIONS, MetricsListener


@pytest.fixture
def listener() -> Iterator[MetricsListener]:
    registry = CollectorRegistry()
    Gauge("answer", "What is asked for", registry=registry).set(42)
    listener = MetricsListener("127.0.0.1", 0, registry)
    yield listener
    listener.stop()


def scraped(listener: MetricsListener) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{listener.port}/metrics", timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def connect(listener: MetricsListener) -> socket.socket:
    # Less than the time in which a listener gives up by itself.
    return socket.create_connection(("127.0.0.1", listener.port), timeout=4)


async def test_requests_that_do_not_end_take_no_more_threads_and_keep_nobody_out(listener: MetricsListener) -> None:
    threads = threading.active_count()

    async def few_threads() -> bool:
        return threading.active_count() <= threads + CONNECTIONS

    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connect(listener)) for _ in range(10 * CONNECTIONS)]
        for each in crowd:
            # Those whose place another one has taken may be closed.
            with contextlib.suppress(OSError):
                each.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        # Connections are accepted in their order, and the oldest one ends first.
        for each in crowd[:-CONNECTIONS]:
            with contextlib.suppress(ConnectionError):
                assert each.recv(1) == b""
        # A thread ends a moment after its connection.
        await eventually(few_threads, seconds=4)
        assert "answer 42.0" in scraped(listener)


def test_a_client_that_is_gone_leaves_no_traceback(
    listener: MetricsListener, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        gone = connect(listener)
        gone.sendall(b"GET /metr")
        # It is reset when it is closed.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
    assert "answer 42.0" in scraped(listener)
    assert capfd.readouterr() == ("", "")
