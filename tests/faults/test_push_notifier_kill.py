"""The process that sends pushes is killed in the middle of a thousand, on both compositions: every push arrives."""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from notifier.dispatcher import DispatchLimits
from tests.support.processes import ServerProcess
from tests.support.providers.site import Site, site
from tests.support.push_queues import is_drained
from tests.support.raw import Api, Device
from tests.support.settings import CHEAP_SIGN_UPS
from tests.support.waiting import eventually
from tidings.v1 import push_pb2
from tidings_server.cluster.cluster import Cluster

# One message in each of ten groups of 100, and in one of 11: a push to everyone but the author.
GROUPS = [100] * 10 + [11]
PUSHES = sum(GROUPS) - len(GROUPS)


@dataclass
class Place:
    """Where people write, and whose notifier can be killed."""

    endpoint: str
    queue: str
    kill: Callable[[], Awaitable[object]]
    start: Callable[[], Awaitable[object]]


@asynccontextmanager
async def one_process(folder: Path, providers: Site) -> AsyncIterator[Place]:
    """A server that does everything: all of it is killed."""
    config = f"push_delay_seconds = 1\n{providers.config}{CHEAP_SIGN_UPS}"
    async with ServerProcess(folder, config=config) as server:
        yield Place(server.endpoint, str(folder), server.kill, server.start)


@asynccontextmanager
async def mesh(cluster: Cluster, providers: Site) -> AsyncIterator[Place]:
    """The mesh of all tests, whose notifier gets these providers for a while."""
    [notifier] = cluster.of_kind("notifier")
    await notifier.stop()
    notifier.settings = {**notifier.settings, **tomllib.loads(providers.config)}
    await notifier.start()
    try:
        yield Place(cluster.endpoint, cluster.push_redis.url, notifier.kill, notifier.start)
    finally:
        # The next test starts it with the settings of all others.
        await notifier.stop()


@pytest.fixture(params=["embedded", "mesh"])
def cluster_if_mesh(request: pytest.FixtureRequest) -> Cluster | None:
    """The composition to test."""
    return request.getfixturevalue("standing_cluster") if request.param == "mesh" else None


@pytest.fixture
async def world(cluster_if_mesh: Cluster | None, folder: Path, tmp_path: Path) -> AsyncIterator[tuple[Site, Place]]:
    """The providers, and those who send to them."""
    async with site(tmp_path) as providers:
        if cluster_if_mesh is None:
            places = one_process(folder, providers)
        else:
            places = mesh(await cluster_if_mesh.start(), providers)
        async with places as place:
            yield providers, place


async def write_to_all(api: Api) -> set[tuple[str, str]]:
    """Writes to every group; gives the tokens and channels for which pushes will come."""

    async def phone(number: int) -> Device:
        device = await api.sign_up("away")
        token = push_pb2.RegisterPushTokenRequest(
            provider=push_pb2.PUSH_PROVIDER_FCM, token=f"phone-{number}", preview=push_pb2.PUSH_PREVIEW_FULL
        )
        await api.pushes.RegisterPushToken(token, metadata=device.metadata)
        return device

    author = await api.sign_up("author")
    phones = await asyncio.gather(*(phone(number) for number in range(max(GROUPS) - 1)))
    expected = set()
    async with author.stream() as stream:
        for size in GROUPS:
            group = await author.group(*phones[: size - 1])
            assert (await stream.send(group.channel_id, "the words")).HasField("accepted")
            expected |= {(f"phone-{number}", group.channel_id) for number in range(size - 1)}
    return expected


async def test_every_push_arrives_though_the_notifier_is_killed_in_the_middle(
    world: tuple[Site, Place], record_property: Callable[[str, object], None]
) -> None:
    providers, place = world

    def arrived() -> Counter[tuple[str, str]]:
        return Counter((each["token"], each["data"]["channel_id"]) for each in providers.fcm.messages)

    async def is_in_the_middle() -> bool:
        return len(providers.fcm.messages) >= PUSHES // 2

    async def are_all_there() -> bool:
        return len(arrived()) == PUSHES

    api = Api(place.endpoint)
    expected = await write_to_all(api)
    await api.close()
    assert len(expected) == PUSHES
    await eventually(is_in_the_middle, 60)
    await place.kill()
    at_the_kill = len(providers.fcm.messages)
    await place.start()
    await eventually(are_all_there, 120)
    await is_drained(place.queue)
    counts = arrived()
    twice = sum(counts.values()) - PUSHES
    record_property("twice", twice)
    print(f"killed after {at_the_kill} of {PUSHES} pushes; {twice} came twice")
    assert counts.keys() == expected
    assert at_the_kill < PUSHES
    # Those that had arrived, and whose arrival was not noted yet, when it was killed.
    assert twice <= DispatchLimits().concurrency < PUSHES / 100
    assert max(counts.values()) <= 2
