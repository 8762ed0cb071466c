"""The news of signed-out devices, in the memory of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidings.core.ports import SignOutPubSub


class MemorySignOutPubSub(SignOutPubSub):
    """News among the subscribers of one process: `publish` returns when all of them have it."""

    def __init__(self) -> None:
        """Nobody listens."""
        self._subscribers: dict[object, Callable[[Mapping[str, int]], None]] = {}

    async def publish(self, revoked: Mapping[str, int]) -> None:
        """See `SignOutPubSub.publish`."""
        for notify in list(self._subscribers.values()):
            notify(revoked)

    async def subscribe(
        self, notify: Callable[[Mapping[str, int]], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See `SignOutPubSub.subscribe`. There is never a gap."""
        key = object()
        self._subscribers[key] = notify

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe
