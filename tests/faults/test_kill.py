"""The server is killed at random moments under load, many times: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.support.crowd import Member, check, crowd, whole_log
from tests.support.processes import ServerProcess
from tests.support.settings import UNLIMITED

_KILLS = 12
_BETWEEN = 60
"""Messages accepted between two kills."""


async def _talk(member: Member, name: str, counter: list[int], stop: asyncio.Event) -> None:
    while not stop.is_set():
        counter[0] += 1
        await asyncio.gather(*(member.say(f"{name}-{counter[0]}-{n}") for n in range(4)))


async def test_killed_again_and_again_under_load(folder: Path) -> None:
    async with ServerProcess(folder, config=UNLIMITED) as server, crowd(server.endpoint, folder, people=4) as members:
        stop = asyncio.Event()
        talkers = [
            asyncio.create_task(_talk(member, f"device{number}", [0], stop)) for number, member in enumerate(members)
        ]
        for _ in range(_KILLS):
            before = sum(len(member.accepted) for member in members)
            while sum(len(member.accepted) for member in members) < before + _BETWEEN:
                members[0].grown.clear()
                await members[0].grown.wait()
            # Somewhere within a commit, a delivery, a reconnect: the moment is to be any.
            await asyncio.sleep(random.uniform(0.0, 0.05))
            await server.kill()
            await server.start()
        stop.set()
        await asyncio.gather(*talkers)
        log = await whole_log(members[0].client, members[0].channel_id)
        async with asyncio.timeout(60):
            await asyncio.gather(*(member.until(len(log)) for member in members))
        check(log, members)
        assert all(member.connection.reconnects >= 1 for member in members)
        name, first = next(iter(members[0].accepted.items()))
        again = await members[0].connection.send(members[0].channel_id, f"text of {name}", client_message_id=name)
        assert again == first
