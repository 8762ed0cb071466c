"""What every `SignOutPubSub` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from tests.conformance.soft_state import SOFT_ENGINES
from tidings.core.ports import SignOutPubSub


@pytest.fixture(params=SOFT_ENGINES)
async def news(request: pytest.FixtureRequest) -> AsyncIterator[SignOutPubSub]:
    async with SOFT_ENGINES[request.param](request) as ports:
        yield ports.sign_outs


class Server:
    """One that listens."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Mapping[str, int]] = asyncio.Queue()

    def notify(self, revoked: Mapping[str, int]) -> None:
        self.heard.put_nowait(revoked)

    def gap(self) -> None:
        raise AssertionError("nothing was missed")

    async def next(self) -> Mapping[str, int]:
        async with asyncio.timeout(10):
            return await self.heard.get()


async def test_all_servers_hear_of_all_sign_outs_in_order(news: SignOutPubSub) -> None:
    one, two = Server(), Server()
    await news.subscribe(one.notify, one.gap)
    await news.subscribe(two.notify, two.gap)
    await news.publish({"phone": 1, "laptop": 2})
    await news.publish({"tablet": 3})
    for server in (one, two):
        assert await server.next() == {"phone": 1, "laptop": 2}
        assert await server.next() == {"tablet": 3}


async def test_nobody_need_listen(news: SignOutPubSub) -> None:
    await news.publish({"phone": 1})
    server = Server()
    await news.subscribe(server.notify, server.gap)
    await news.publish({"tablet": 3})
    assert await server.next() == {"tablet": 3}


async def test_who_has_unsubscribed_hears_no_more(news: SignOutPubSub) -> None:
    one, two = Server(), Server()
    unsubscribe = await news.subscribe(one.notify, one.gap)
    await news.subscribe(two.notify, two.gap)
    unsubscribe()
    unsubscribe()
    await news.publish({"phone": 1})
    assert await two.next() == {"phone": 1}
    assert one.heard.empty()
