"""Bytes that nobody sends by mistake: whoever talks meanwhile notices nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.floods import ATTACKS
from tests.support.http2 import Http2, is_well
from tests.support.processes import ServerProcess
from tests.support.raw import Api
from tests.support.settings import UNLIMITED
from tidings.v1 import chat_pb2

HELLO = chat_pb2.ConverseRequest(commands=[chat_pb2.Command(hello=chat_pb2.Hello())]).SerializeToString()
# The promise is that nobody waits for a second.
_MOST_SECONDS = 1.0


@dataclass
class Scene:
    """A server, and two people who talk on it."""

    server: ServerProcess
    sent: int = 0
    slowest: float = 0.0

    @property
    def endpoint(self) -> str:
        return self.server.endpoint


@asynccontextmanager
async def talking(folder: Path) -> AsyncIterator[Scene]:
    """Two people talk on streams that are never renewed, and their messages arrive; then a third one signs up."""
    async with ServerProcess(folder, config=UNLIMITED) as server:
        scene, api = Scene(server), Api(server.endpoint)
        ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
        channel = (await ann.direct(bob)).channel_id
        async with ann.stream() as a, bob.stream() as b:

            async def talk() -> None:
                while True:
                    began = time.monotonic()
                    await a.send(channel, str(scene.sent))
                    assert (await b.next("message")).text == str(scene.sent)
                    scene.slowest = max(scene.slowest, time.monotonic() - began)
                    scene.sent += 1
                    await asyncio.sleep(0.02)

            talker = asyncio.create_task(talk())
            try:
                yield scene
                assert await is_well(scene.endpoint)
                after = scene.sent
                async with asyncio.timeout(10):
                    while scene.sent < after + 3:
                        await asyncio.sleep(0.01)
                        assert not talker.done() or talker.result() is None
            finally:
                talker.cancel()
                await asyncio.gather(talker, return_exceptions=True)
        late = Api(server.endpoint)
        async with (await late.sign_up("carol")).stream():
            pass
        await late.close()
        await api.close()
        code, log = await server.terminate()
    assert scene.slowest < _MOST_SECONDS
    assert code == 0
    assert "Traceback" not in log


async def by_tens(attacks: list[Awaitable[None]]) -> None:
    """Run attacks, ten at a time."""
    for at in range(0, len(attacks), 10):
        await asyncio.gather(*attacks[at : at + 10])


async def test_a_path_that_is_no_text_a_thousand_times(folder: Path) -> None:
    async def attack(endpoint: str) -> None:
        async with await Http2.connect(endpoint) as http:
            await http.call(b"/\xff\xfe")
            assert await http.ping()

    async with talking(folder) as scene:
        await by_tens([attack(scene.endpoint) for _ in range(1_000)])


async def test_floods(folder: Path) -> None:
    """From a process of their own: making them takes longer than serving them."""
    async with talking(folder) as scene:
        before = scene.server.rss()
        attacker = await asyncio.create_subprocess_exec(
            "nice", sys.executable, "-m", "tests.support.floods", scene.endpoint, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await attacker.communicate()
        assert (attacker.returncode, out.decode().split()) == (0, [attack.__name__ for attack in ATTACKS])
        assert scene.server.rss() - before < 256 << 20


@pytest.mark.parametrize(
    ("path", "request_", "signed_in"),
    [
        ("/grpc.health.v1.Health/Watch", b"", False),
        ("/tidings.v1.DiscoveryService/WatchServers", b"", False),
        ("/tidings.v1.ChatService/Converse", HELLO, True),
        ("/tidings.v1.PresenceService/Track", b"", True),
    ],
)
async def test_a_reader_that_reads_nothing_does_not_hold_up_the_end(
    folder: Path, path: str, request_: bytes, signed_in: bool
) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server:
        api = Api(server.endpoint)
        token = (await api.sign_up("ann")).tokens.access_token if signed_in else ""
        async with await Http2.connect(server.endpoint, window=0, reading=False) as http:
            call = await http.call(path, token=token)
            await call.message(request_)
            assert await http.ping()
            async with asyncio.timeout(10):
                code, log = await server.terminate()
        await api.close()
    assert (code, "Traceback" in log) == (0, False)
