"""Ports on loopback, and short conversations with a server there."""

from __future__ import annotations

import asyncio
import random
import socket

HOST = "127.0.0.1"

_FIRST, _LAST = 20_000, 32_000
"""Below what Linux gives to clients (32768 and up): a port stays free for the server that comes back to it."""
_CHANCE = random.SystemRandom()


def free_port() -> tuple[int, socket.socket]:
    """Find a TCP port that nobody listens at.

    Returns:
        The port, and a claim to it: until that is closed (or its process ends) nobody else is given the port here, also
        while the server has yet to listen or was killed to be started again.
    """
    while True:
        # Not the shared generator: tests seed it, and then all of them would try the same ports.
        port = _CHANCE.randint(_FIRST, _LAST)
        claim = socket.socket(socket.AF_UNIX)
        try:
            # A name in no folder, which the kernel frees together with the socket.
            claim.bind(f"\0tidings-port-{port}")
        except OSError:
            claim.close()
            continue
        if is_free(port):
            return port, claim
        claim.close()


def is_free(port: int) -> bool:
    """Whether a server can listen at a TCP port."""
    with socket.socket() as attempt:
        # As servers do: connections that have ended are not in their way.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
        return True


class Conversation:
    """A connection for a few requests, closed when the block ends.

    Every method raises OSError when nobody answers, and EOFError when the server closes.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Conversation:
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, request: bytes) -> None:
        """Send bytes."""
        self._writer.write(request)
        await self._writer.drain()

    async def line(self) -> bytes:
        """Read the next line; it is empty at the end."""
        return await self._reader.readline()

    async def exactly(self, count: int) -> bytes:
        """Read exactly this many bytes."""
        return await self._reader.readexactly(count)

    async def rest(self) -> bytes:
        """Read until the server closes."""
        return await self._reader.read()
