"""A process that is registered and holds a worker id, and says what becomes of that, for tests that pause it."""

from __future__ import annotations

import asyncio
import sys

from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.backends.etcd.worker_ids import EtcdWorkerIds
from tidings.core.values import Server, ServerKind


def say(word: str) -> None:
    print(word, flush=True)


async def main(address: str, lease_seconds: int) -> None:
    etcd = EtcdClient([address])
    registry = EtcdRegistry(etcd, lambda: say("registered again"), lease_seconds)
    await registry.start()
    await registry.register(Server("paused", ServerKind.CHAT, "10.0.0.9:7000", "", 0.0))
    worker_id = await EtcdWorkerIds(etcd, "paused", lease_seconds).take(lambda: say("worker id lost"))
    say(f"worker id {worker_id}")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
