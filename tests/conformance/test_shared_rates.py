"""What every `SharedRates` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.engines import Engines
from tests.support.waiting import eventually
from tidings.backends.redis.rate import RedisSharedRates
from tidings.backends.redis.shards import Shards
from tidings.core.ports import SharedRates
from tidings.core.rate import Rate

SLOW = Rate(per_second=0.001, burst=3)


@pytest.fixture
async def servers(engines: Engines) -> AsyncIterator[list[SharedRates]]:
    """The same buckets, as two servers have them."""
    spaces = [engines.redis() for _ in range(2)]
    parties = [Shards([space.url for space in spaces], spaces[0].prefix) for _ in range(2)]
    yield [RedisSharedRates(party) for party in parties]
    for party in parties:
        await party.close()


async def test_servers_share_a_burst_and_are_told_how_long_to_wait(servers: list[SharedRates]) -> None:
    one, two = servers
    assert [await one.take("ada", SLOW), await two.take("ada", SLOW), await one.take("ada", SLOW)] == [0, 0, 0]
    assert await two.take("ada", SLOW) == pytest.approx(1_000, rel=0.05)
    assert await one.wait("ada", SLOW) == pytest.approx(1_000, rel=0.05)
    assert await two.take("bob", SLOW) == 0


async def test_waiting_takes_nothing_and_neither_does_what_is_refused(servers: list[SharedRates]) -> None:
    one, two = servers
    assert await one.wait("ada", SLOW, 3) == 0
    assert await two.wait("ada", SLOW, 3) == 0
    assert await one.take("ada", SLOW, 4) == pytest.approx(1_000)
    assert await two.take("ada", SLOW, 3) == 0


async def test_tokens_come_back_with_time(servers: list[SharedRates]) -> None:
    one, two = servers
    fast = Rate(per_second=10, burst=1)
    assert await one.take("ada", fast) == 0

    async def taken() -> bool:
        return await two.take("ada", fast) == 0

    started = asyncio.get_running_loop().time()
    await eventually(taken)
    assert asyncio.get_running_loop().time() - started > 0.05


async def test_those_who_take_at_once_get_no_more_than_there_is(servers: list[SharedRates]) -> None:
    waits = await asyncio.gather(*(server.take("ada", SLOW) for server in servers for _ in range(20)))
    assert sum(wait == 0 for wait in waits) == 3
