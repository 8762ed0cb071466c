"""What systemd is told: that the server is ready, that it stops, and that its listeners answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx2

_log = logging.getLogger(__name__)

# It would have a line for each question.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# A gRPC message without a field: the server as a whole.
_QUESTION = bytes(5)
_PATH = "/grpc.health.v1.Health/Check"
_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Where this process listens.

    Args:
        address: HOST:PORT; a host that means all addresses is asked over loopback.
        tls: How to speak to it; None for plaintext.
    """

    address: str
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        """The address of a health check."""
        host, _, port = self.address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return f"{'http' if self.tls is None else 'https'}://{host}:{port}{_PATH}"

    async def answers(self) -> bool:
        """Ask for its health by an RPC on a new connection, as a client would; what it answers does not matter."""
        verify = self.tls if self.tls is not None else True
        try:
            async with httpx2.AsyncClient(
                http1=False, http2=True, verify=verify, timeout=_ANSWER_SECONDS, trust_env=False
            ) as client:
                response = await client.post(self.url, content=_QUESTION, headers=_HEADERS)
        except httpx2.HTTPError as error:
            _log.error("the listener at %s does not answer: %s", self.address, type(error).__name__)
            return False
        # A message: it was served, and is no refusal of gRPC's own.
        return response.status_code == 200 and len(response.content) > len(_QUESTION)


class ServiceManager:
    """Tells systemd how the server is; without systemd it does nothing.

    Args:
        environment: Where systemd says where it listens, and how often it wants to hear.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        self.interval: float | None = None
        """Seconds within which it has to hear that all is well; None when it does not watch."""
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()) and "WATCHDOG_USEC" in environment:
            self.interval = int(environment["WATCHDOG_USEC"]) / 1e6

    def tell(self, state: str) -> None:
        """Send a line of sd_notify(3), such as ``READY=1``."""
        if not self._path:
            return
        # A name that begins with @ is in the abstract namespace.
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), path)
            except OSError as error:
                _log.warning("systemd cannot be told %s: %s", state, error)

    async def watch(self, listeners: Sequence[Listener]) -> None:
        """Tell, again and again, that every listener answers. When one does not, systemd hears nothing, and acts."""
        if self.interval is None:
            return
        while True:
            if all(await asyncio.gather(*(listener.answers() for listener in listeners))):
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self.interval / 4)
