"""Sign-outs of devices, by pub/sub of Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from tidings.backends.redis.pubsub import GapListeners, PubSubConnection
from tidings.backends.redis.shards import Shards
from tidings.core.ports import SignOutPubSub


class RedisSignOutPubSub(SignOutPubSub):
    """One channel that all servers subscribe to, on one of the shards.

    Args:
        shards: The Redis servers; the caller closes them.
    """

    def __init__(self, shards: Shards) -> None:
        self._channel = f"{shards.prefix}signed-out"
        self._pipeline = shards.of(self._channel)
        self._gaps = GapListeners()
        self._pubsub = PubSubConnection(self._pipeline, f"{shards.prefix}epoch", self._gaps.notify)

    async def publish(self, revoked: Mapping[str, int]) -> None:
        """See `SignOutPubSub.publish`."""
        await self._pipeline.call("PUBLISH", self._channel, json.dumps(dict(revoked)))

    async def subscribe(
        self, notify: Callable[[Mapping[str, int]], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See `SignOutPubSub.subscribe`."""

        def receive(body: bytes) -> None:
            notify(json.loads(body))

        unsubscribe = await self._pubsub.add(self._channel, receive)
        return self._gaps.add(gap, unsubscribe)

    async def close(self) -> None:
        """End all subscriptions; the shards stay open."""
        await self._pubsub.close()
