"""A notifier with much to do, on both engines."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.faults.push_sender import USER
from tests.support.engines import RedisSpace
from tests.support.providers.server import Reply
from tests.support.providers.site import Site, site
from tests.support.push_queues import is_drained, queue_at, waiting
from tests.support.waiting import eventually
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest

ENGINES = ("sqlite", "redis")
WARM_UP = 300
# The benchmark of docs/push.md has ten thousand.
BACKLOG = int(os.environ.get("PUSH_BACKLOG", "2000"))


@pytest.fixture(params=ENGINES)
def where(request: pytest.FixtureRequest, folder: Path) -> str:
    """Where the queue is, for `push_sender`."""
    if request.param == "sqlite":
        return str(folder)
    space: RedisSpace = request.getfixturevalue("durable_redis")
    return space.url


async def fill(where: str, count: int) -> None:
    async with queue_at(where) as queue:
        for first in range(0, count, 500):
            await queue.enqueue(
                [
                    DevicePush(PushRequest(USER, f"g{number}", 1, "u9", "text", 0), f"v{number}", PushProvider.FCM)
                    for number in range(first, min(first + 500, count))
                ],
                0,
            )


@asynccontextmanager
async def sender(where: str, providers: Site, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    config = folder / "sender.toml"
    config.write_text(providers.config)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.push_sender", where, str(config), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"running\n"
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def arrived(providers: Site) -> Counter[str]:
    return Counter(each["token"] for each in providers.fcm.messages)


async def test_a_backlog_drains_in_bounded_memory(where: str, tmp_path: Path) -> None:
    async with site(tmp_path) as providers:
        await fill(where, WARM_UP)
        async with sender(where, providers, tmp_path) as process:
            await is_drained(where)
            measured = psutil.Process(process.pid)
            memory, used = measured.memory_info().rss, sum(measured.cpu_times()[:2])
            loop = asyncio.get_running_loop()
            began = loop.time()
            # Those that have been sent can be sent again.
            await fill(where, BACKLOG)
            await is_drained(where)
            seconds = loop.time() - began
            grown = measured.memory_info().rss - memory
            used = sum(measured.cpu_times()[:2]) - used
        counts = arrived(providers)
    print(
        f"{BACKLOG} pushes in {seconds:.1f} s, {BACKLOG / seconds:.0f}/s, {used / BACKLOG * 1000:.2f} ms of CPU each;"
        f" grown by {grown / 2**20:.1f} MiB"
    )
    assert len(counts) == BACKLOG
    assert grown < 16 * 2**20


async def test_a_backlog_outlasts_a_provider_that_is_down(where: str, tmp_path: Path) -> None:
    await fill(where, 200)
    async with site(tmp_path) as providers:
        providers.fcm.always = Reply(503, headers={"retry-after": "1"})
        async with sender(where, providers, tmp_path):

            async def is_waiting() -> bool:
                return await waiting(where) == 200

            await eventually(is_waiting, 30)
            providers.fcm.always = None

            await is_drained(where)
        assert len(arrived(providers)) == 200
