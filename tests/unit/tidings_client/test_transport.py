"""How the SDK connects."""

from __future__ import annotations

import asyncio
import contextlib

from tests.support.sdk_fake import Backend, serve
from tidings_client import Tidings


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


async def test_a_connection_may_take_its_time_to_be_made() -> None:
    async with serve(Backend()) as (address, _):
        host, _, port = address.rpartition(":")

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # A round trip to the other side of the world, and a busy machine there.
            await asyncio.sleep(0.5)
            there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))

        async with await asyncio.start_server(relay, "127.0.0.1", 0) as far_away:
            far_address = "{}:{}".format(*far_away.sockets[0].getsockname()[:2])
            async with await Tidings.sign_up(far_address, "ann", "correct horse") as client:
                assert client.user.username == "ann"
