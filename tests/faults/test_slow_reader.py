"""Readers that stop reading cost the server at most their bound, and the others nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from tests.support.processes import ServerProcess
from tests.support.raw import Api, details_of, end_of
from tests.support.settings import UNLIMITED

_READERS = 20
_MESSAGES = 400
_TEXT = "x" * 50_000
# Each may have 1 MiB waiting here and one frame of as much in gRPC; the rest is the storage's cache. Without a bound
# it would be 20 MB a reader.
_MOST_BYTES = _READERS * (3 << 20) + (64 << 20)


async def test_readers_that_stop_reading(folder: Path) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server, AsyncExitStack() as stack:
        apis = [Api(server.endpoint) for _ in range(_READERS + 1)]
        ann, bob = await apis[0].sign_up("ann"), await apis[0].sign_up("bob")
        slow = [await api.sign_up("slow") for api in apis[1:]]
        group = await ann.group(bob, *slow)
        a = await stack.enter_async_context(ann.stream())
        b = await stack.enter_async_context(bob.stream())
        stuck = [await stack.enter_async_context(device.stream()) for device in slow]
        before = server.rss()
        for n in range(_MESSAGES):
            await a.send(group.channel_id, f"{n} {_TEXT}")
            assert (await b.next("message")).text.startswith(f"{n} ")
        assert server.rss() - before < _MOST_BYTES
        for error in await asyncio.gather(*(end_of(stream.call) for stream in stuck)):
            assert (error.code(), details_of(error).reason) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "READER_TOO_SLOW",
            )
        async with slow[0].stream() as back:
            texts = [event.message.text for event in back.replayed if event.HasField("message")]
            assert [int(text.split()[0]) for text in texts] == list(range(_MESSAGES))
            assert (await back.send(group.channel_id, "back again")).HasField("accepted")
        for api in apis:
            await api.close()
