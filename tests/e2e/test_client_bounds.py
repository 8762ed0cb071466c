"""The SDK against a real server where limits are low, lists move, and an application reads nothing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import psutil
import pytest

from tests.support.processes import ServerProcess
from tests.support.settings import CHEAP_SIGN_UPS, UNLIMITED
from tidings_client import Connection, Tidings

pytestmark = pytest.mark.timeout(120)

PASSWORD = "correct horse battery"
SLOW = f"{CHEAP_SIGN_UPS}\n[rates.commands]\nper_second = 200\nburst = 5\n"
MiB = 1 << 20


async def texts(connection: Connection, count: int) -> list[str]:
    found = []
    async for event in connection:
        if event.HasField("message"):
            found.append(event.message.text)
            if len(found) == count:
                break
    return found


async def test_what_is_sent_without_waiting_keeps_its_order_through_the_rate_limit(folder: Path) -> None:
    async with (
        ServerProcess(folder, config=SLOW) as server,
        await Tidings.sign_up(server.endpoint, "ann", PASSWORD) as ann,
        ann.connect() as connection,
    ):
        channels = [(await ann.create_group(title)).channel_id for title in ("one", "two")]
        await asyncio.gather(
            *(connection.send(channel_id, f"{number}") for number in range(120) for channel_id in channels)
        )
        for channel_id in channels:
            logged = [each.text for each in await ann.list_messages(channel_id, page_size=200)]
            assert logged == [f"{number}" for number in range(120)]


async def test_the_list_of_channels_is_complete_while_somebody_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings_client._api_client._PAGE", 3)
    async with (
        ServerProcess(folder, config=UNLIMITED) as server,
        await Tidings.sign_up(server.endpoint, "ann", PASSWORD) as ann,
        await Tidings.sign_up(server.endpoint, "bob", PASSWORD) as bob,
        bob.connect() as there,
    ):
        channels = [(await bob.create_group(f"{number}", [ann.user_id])).channel_id for number in range(20)]
        written = 0

        async def write() -> None:
            nonlocal written
            # Each time the one that has been quiet the longest: it is on the last page, and moves to the front.
            for channel_id in itertools.cycle(channels):
                await there.send(channel_id, "to the front")
                written += 1

        writer = asyncio.create_task(write())
        try:
            while written < 60:
                listed = [each.channel_id for each in await ann.list_channels()]
                assert sorted(listed) == sorted(channels)
                assert not writer.done()
        finally:
            writer.cancel()


async def test_a_program_that_only_sends_needs_bounded_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING_BYTES", 1 * MiB)
    text = "x" * 50_000
    async with (
        ServerProcess(folder, config=UNLIMITED) as server,
        await Tidings.sign_up(server.endpoint, "ann", PASSWORD) as ann,
        ann.connect() as connection,
    ):
        channel_id = (await ann.create_group("monologue")).channel_id
        process = psutil.Process()

        async def send(numbers: range) -> None:
            for number in numbers:
                await connection.send(channel_id, f"{number} {text}")

        await send(range(200))
        before = process.memory_info().rss
        await send(range(200, 1200))
        grown = process.memory_info().rss - before
        # 50 MB were sent meanwhile.
        assert grown < 15 * MiB, f"{grown / MiB:.1f} MiB"
        # And nothing is missing for whoever reads in the end.
        found = await texts(connection, 1200)
        assert [each.split()[0] for each in found] == [f"{number}" for number in range(1200)]
