"""What every `PresencePubSub` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.conformance.soft_state import SOFT_ENGINES
from tidings.core.ports import PresencePubSub
from tidings.core.values import Presence

ONLINE = Presence("a", True, 0)
OFFLINE = Presence("a", False, 1_750_000_000_000)
# Published last, it comes last: what should not come would have come before it.
MARKER = Presence("marker", False, 0)


@pytest.fixture(params=SOFT_ENGINES)
async def news(request: pytest.FixtureRequest) -> AsyncIterator[PresencePubSub]:
    async with SOFT_ENGINES[request.param](request) as ports:
        yield ports.presence_news


class Listener:
    """What one subscription is told."""

    unsubscribe: Callable[[], None]

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Presence] = asyncio.Queue()
        self.gaps = 0

    def gap(self) -> None:
        self.gaps += 1

    async def upto_marker(self) -> list[Presence]:
        heard = []
        async with asyncio.timeout(10):
            while (presence := await self.heard.get()) != MARKER:
                heard.append(presence)
        return heard


async def listen(news: PresencePubSub, user_id: str) -> Listener:
    listener = Listener()
    listener.unsubscribe = await news.subscribe(user_id, listener.heard.put_nowait, listener.gap)
    return listener


async def test_watchers_are_told_and_nobody_else(news: PresencePubSub) -> None:
    b, c, d = [await listen(news, user_id) for user_id in "bcd"]
    await news.publish(ONLINE, ["b", "c"])
    await news.publish(MARKER, ["b", "c", "d"])
    assert await b.upto_marker() == await c.upto_marker() == [ONLINE]
    assert await d.upto_marker() == []


async def test_changes_come_in_their_order_with_all_they_say(news: PresencePubSub) -> None:
    b = await listen(news, "b")
    for presence in (ONLINE, OFFLINE, ONLINE, MARKER):
        await news.publish(presence, {"b"})
    assert await b.upto_marker() == [ONLINE, OFFLINE, ONLINE]


async def test_each_subscription_of_a_user_is_told(news: PresencePubSub) -> None:
    phone, laptop = await listen(news, "b"), await listen(news, "b")
    await news.publish(ONLINE, ["b"])
    await news.publish(MARKER, ["b"])
    assert await phone.upto_marker() == await laptop.upto_marker() == [ONLINE]


async def test_who_has_unsubscribed_is_told_no_more_and_others_still_are(news: PresencePubSub) -> None:
    phone, laptop = await listen(news, "b"), await listen(news, "b")
    phone.unsubscribe()
    phone.unsubscribe()
    await news.publish(ONLINE, ["b"])
    await news.publish(MARKER, ["b"])
    assert await laptop.upto_marker() == [ONLINE]
    # Its end of the queue was never written to: the marker that it hears is the one it gets after subscribing anew.
    again = await news.subscribe("b", phone.heard.put_nowait, phone.gap)
    await news.publish(MARKER, ["b"])
    assert await phone.upto_marker() == []
    again()


async def test_one_who_unsubscribes_another_while_told_silences_them(news: PresencePubSub) -> None:
    heard: list[str] = []
    first_told = asyncio.Event()
    others: list[Callable[[], None]] = []

    def tell(name: str) -> Callable[[Presence], None]:
        def told(_: Presence) -> None:
            heard.append(name)
            for unsubscribe in others:
                unsubscribe()
            first_told.set()

        return told

    others += [await news.subscribe("b", tell(name), lambda: None) for name in ("one", "two")]
    marker = await listen(news, "b")
    await news.publish(ONLINE, ["b"])
    await news.publish(MARKER, ["b"])
    assert await marker.upto_marker() == [ONLINE]
    assert len(heard) == 1


async def test_publishing_to_nobody_is_no_error(news: PresencePubSub) -> None:
    await news.publish(ONLINE, [])
    await news.publish(ONLINE, ["nobody"])
    b = await listen(news, "b")
    await news.publish(MARKER, ["b"])
    assert await b.upto_marker() == []
