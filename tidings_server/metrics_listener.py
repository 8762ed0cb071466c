"""The HTTP listener of the metrics, which strangers who reach it cannot use up."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

CONNECTIONS = 16
"""How many connections the metrics have. Whoever comes after them takes the place of the oldest."""
_READ_SECONDS = 5.0
_FILES_SECONDS = 0.1


class MetricsListener:
    """Serves metrics over HTTP, in threads of its own. What clients send is never logged.

    Args:
        host: The address; empty for all of them.
        port: The port.
        registry: Has the metrics.

    Raises:
        OSError: The address cannot be listened at.
        OverflowError: There is no such port.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        server_class = _Server6 if family == socket.AF_INET6 else _Server
        self._server = server_class((str(address[0]), port), _Handler)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, which tells which one 0 was."""
        return self._server.server_port

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = _READ_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""

    def get_stderr(self) -> io.StringIO:
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Those that are open when it stops are not waited for.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._lock = Lock()
        # The oldest comes first.
        self._open: dict[object, socket.socket] = {}
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, object]:
        try:
            connection, address = super().get_request()
        except OSError:
            # Without files left, the connection stays to be accepted, and this would be tried again without a pause.
            time.sleep(_FILES_SECONDS)
            raise
        with self._lock:
            if len(self._open) >= CONNECTIONS:
                oldest = self._open.pop(next(iter(self._open)))
                # Its thread reads the end; if it has closed the connection by itself, that is as good.
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            self._open[connection] = connection
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Tells nobody: a client that is slow or gone is no fault, and would be a traceback each."""


class _Server6(_Server):
    address_family = socket.AF_INET6
