"""A process that sends what a queue holds through FCM, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from notifier.dispatcher import Dispatcher
from notifier.notice import Notice
from tests.support.push_queues import queue_at
from tidings.core.clock import SystemClock
from tidings.core.ports import PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushRequest, PushToken
from tidings_server.notifier import providers
from tidings_server.settings import load

USER = "u1"


class TokenOfEveryDevice(PushTokenStore):
    """Every device has one: its id."""

    async def set(self, token: PushToken) -> None:
        raise NotImplementedError

    async def remove(self, device_id: str, token: str | None = None) -> None:
        raise NotImplementedError

    async def of_device(self, device_id: str) -> PushToken | None:
        return PushToken(device_id, USER, PushProvider.FCM, device_id)

    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        raise NotImplementedError


async def compose(request: PushRequest, preview: PushPreview, counts_all: bool) -> Notice:
    """A notice without asking anybody."""
    ids = request.user_id, request.channel_id, request.seq, request.sender_id
    return Notice(*ids, "Ann", request.preview, 1, None, request.created_at_ms)


async def main(where: str, config: Path) -> None:
    clock = SystemClock()
    fcm = {PushProvider.FCM: providers(load(config).push, clock)[PushProvider.FCM]}
    async with queue_at(where) as queue:
        dispatcher = Dispatcher(queue, TokenOfEveryDevice(), fcm, compose, clock)
        print("running", flush=True)
        await dispatcher.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
