"""A process that keeps pushes in the queue of a data folder, and says of each, once it is acknowledged, its seq."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest

WRITERS = 8


async def main(folder: Path) -> None:
    queue = SqlitePushQueue(Database(folder))
    numbers = itertools.count(1)

    async def write() -> None:
        for number in numbers:
            request = PushRequest("u1", f"g{number}", number, "u2", "text", 0)
            await queue.enqueue([DevicePush(request, "v1", PushProvider.LOG)], 0)
            print(number, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
