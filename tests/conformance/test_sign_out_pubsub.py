"""What every `SignOutPubSub` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from tests.conformance.soft_state import SOFT_ENGINES
from tidings.core.ports import SignOutPubSub

NOW = 1_750_000_000_000


@pytest.fixture(params=SOFT_ENGINES)
async def news(request: pytest.FixtureRequest) -> AsyncIterator[SignOutPubSub]:
    async with SOFT_ENGINES[request.param](request) as ports:
        yield ports.sign_outs


class Server:
    """One that listens."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[list[str], int]] = asyncio.Queue()

    def notify(self, device_ids: Collection[str], at_ms: int) -> None:
        self.heard.put_nowait((list(device_ids), at_ms))

    def gap(self) -> None:
        raise AssertionError("nothing was missed")

    async def next(self) -> tuple[list[str], int]:
        async with asyncio.timeout(10):
            return await self.heard.get()


async def test_all_servers_hear_of_all_sign_outs_in_order(news: SignOutPubSub) -> None:
    one, two = Server(), Server()
    await news.subscribe(one.notify, one.gap)
    await news.subscribe(two.notify, two.gap)
    await news.publish(["phone", "laptop"], NOW)
    await news.publish({"tablet"}, NOW + 1)
    for server in (one, two):
        assert await server.next() == (["phone", "laptop"], NOW)
        assert await server.next() == (["tablet"], NOW + 1)


async def test_nobody_need_listen(news: SignOutPubSub) -> None:
    await news.publish(["phone"], NOW)
    server = Server()
    await news.subscribe(server.notify, server.gap)
    await news.publish(["tablet"], NOW)
    assert await server.next() == (["tablet"], NOW)


async def test_who_has_unsubscribed_hears_no_more(news: SignOutPubSub) -> None:
    one, two = Server(), Server()
    unsubscribe = await news.subscribe(one.notify, one.gap)
    await news.subscribe(two.notify, two.gap)
    unsubscribe()
    unsubscribe()
    await news.publish(["phone"], NOW)
    assert await two.next() == (["phone"], NOW)
    assert one.heard.empty()
