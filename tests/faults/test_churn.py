"""Streams that come and go leave nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.processes import ServerProcess
from tests.support.raw import Api, Device
from tests.support.settings import UNLIMITED

_ROUND = 1_000
_ROUNDS = 5
_DEVICES = 20


async def _come_and_go(device: Device, channel_id: str, times: int) -> None:
    for n in range(times):
        async with device.stream() as stream:
            if n % 10 == 0:
                await stream.send(channel_id, "here for a moment")


async def test_five_thousand_connects_and_drops_leave_memory_where_it_was(folder: Path) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server:
        apis = [Api(server.endpoint) for _ in range(_DEVICES)]
        devices = [await api.sign_up() for api in apis]
        # A short log, so that what is measured is streams and not what they are sent.
        channels = [(await device.group()).channel_id for device in devices]
        sizes = []
        for _ in range(_ROUNDS):
            await asyncio.gather(
                *(
                    _come_and_go(device, channel_id, _ROUND // _DEVICES)
                    for device, channel_id in zip(devices, channels, strict=True)
                )
            )
            sizes.append(server.rss())
        for api in apis:
            await api.close()
    assert max(sizes[1:]) <= sizes[0] * 1.1, sizes
