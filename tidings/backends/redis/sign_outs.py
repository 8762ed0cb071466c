"""The news of signed-out devices, by pub/sub of Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from tidings.backends.redis.pubsub import PubSub
from tidings.backends.redis.shards import Shards
from tidings.core.ports import SignOutPubSub


class RedisSignOutPubSub(SignOutPubSub):
    """One channel that all servers subscribe to, on one of the shards."""

    def __init__(self, shards: Shards) -> None:
        """Publishes and subscribes at `shards`."""
        self._channel = f"{shards.prefix}sign-outs"
        self._link = shards.of(self._channel)
        self._gaps: dict[object, Callable[[], None]] = {}
        self._feed = PubSub(self._link, f"{shards.prefix}epoch", self._gap)

    async def publish(self, device_ids: Collection[str], at_ms: int) -> None:
        """See `SignOutPubSub.publish`."""
        await self._link.call("PUBLISH", self._channel, json.dumps([list(device_ids), at_ms]))

    async def subscribe(
        self, notify: Callable[[Collection[str], int], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See `SignOutPubSub.subscribe`."""

        def heard(body: bytes) -> None:
            notify(*json.loads(body))

        remove = await self._feed.add(self._channel, heard)
        key = object()
        self._gaps[key] = gap

        def unsubscribe() -> None:
            self._gaps.pop(key, None)
            remove()

        return unsubscribe

    async def close(self) -> None:
        """Ends the subscriptions; the shards stay open."""
        await self._feed.close()

    def _gap(self) -> None:
        for gap in list(self._gaps.values()):
            gap()
