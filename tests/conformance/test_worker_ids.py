"""What every `WorkerIds` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.engines import EtcdSpace
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.worker_ids import EtcdWorkerIds
from tidings.core.errors import Code, Refusal
from tidings.core.ports import WorkerIds
from tidings.core.positions import MAX_WORKER_ID

Holder = Callable[[], WorkerIds]


@pytest.fixture(params=["etcd", "debians_etcd"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[EtcdClient]:
    etcd: EtcdSpace = request.getfixturevalue(request.param)
    client = EtcdClient([etcd.address], etcd.prefix)
    yield client
    await client.close()


@pytest.fixture
async def holder(client: EtcdClient) -> AsyncIterator[Holder]:
    """Makes processes that may hold a worker id."""
    made: list[EtcdWorkerIds] = []

    def make() -> WorkerIds:
        made.append(EtcdWorkerIds(client, f"process {len(made)}", lease_seconds=2))
        return made[-1]

    yield make
    await asyncio.gather(*(each.release() for each in made))


def not_lost() -> None:
    raise AssertionError("it was not lost")


async def test_no_two_who_take_at_once_have_the_same(holder: Holder) -> None:
    taken = await asyncio.gather(*(holder().take(not_lost) for _ in range(60)))
    assert len(set(taken)) == 60
    assert all(0 <= worker_id <= MAX_WORKER_ID for worker_id in taken)


async def test_the_last_free_ones_are_raced_for_and_then_there_are_none(client: EtcdClient, holder: Holder) -> None:
    lease = await client.grant(60)
    free = {17, 900}
    for worker_id in set(range(MAX_WORKER_ID + 1)) - free:
        await client.put(client.prefix + f"numbers/{worker_id}".encode(), b"somebody", lease)
    results = await asyncio.gather(*(holder().take(not_lost) for _ in range(6)), return_exceptions=True)
    assert {result for result in results if isinstance(result, int)} == free
    refusals = [result for result in results if isinstance(result, Refusal)]
    assert [refusal.code for refusal in refusals] == [Code.RESOURCE_EXHAUSTED] * 4


async def test_a_worker_id_given_back_can_be_taken(client: EtcdClient, holder: Holder) -> None:
    one = holder()
    await one.take(not_lost)
    await one.release()
    await one.release()
    assert (await client.get(client.prefix))[1] == []
    await one.take(not_lost)


async def test_who_takes_anew_gives_back_what_they_had(client: EtcdClient, holder: Holder) -> None:
    one = holder()
    await one.take(not_lost)
    worker_id = await one.take(not_lost)
    assert [key for key, _ in (await client.get(client.prefix))[1]] == [client.prefix + f"numbers/{worker_id}".encode()]
