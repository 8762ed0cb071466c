"""A process that sends what a queue holds through FCM, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from notifier.dispatcher import Dispatcher, DispatchLimits
from notifier.notice import Notice
from tidings.backends.redis.link import Link
from tidings.backends.redis.push_queue import RedisPushQueue
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push import SqlitePushQueue
from tidings.core.clock import SystemClock
from tidings.core.ports import PushQueue, PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushRequest, PushToken
from tidings.node.push import providers
from tidings.node.settings import load

USER = "u1"
# A push that the one before had under way is due again after this.
LIMITS = DispatchLimits(timeout=8.0, lease=10.0)


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


def queue_at(where: str) -> PushQueue:
    """The queue in a Redis, by its URL, or in a data folder."""
    return RedisPushQueue(Link(where)) if where.startswith("redis:") else SqlitePushQueue(Database(Path(where)))


async def main(where: str, config: Path) -> None:
    clock = SystemClock()
    fcm = {PushProvider.FCM: providers(load(config).push, clock)[PushProvider.FCM]}
    dispatcher = Dispatcher(queue_at(where), TokenOfEveryDevice(), fcm, compose, clock, LIMITS)
    print("running", flush=True)
    await dispatcher.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
