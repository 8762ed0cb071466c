"""Presence: heartbeats, and the changes that follow from them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence

from tidings.core.values import Presence


class PresenceStore(abc.ABC):
    """The last heartbeat of every device. It is soft state: after a loss it is whole again with the next heartbeats.

    Times are the callers' steady ones, in ms since 1970. Callers may be apart: what counts is how much passes on each.
    """

    @abc.abstractmethod
    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """Note a heartbeat; return whether the user was offline until now."""

    @abc.abstractmethod
    async def leave(self, device_id: str, now_ms: int) -> str | None:
        """Forget a device, if it is known; return its user when they are offline now."""

    @abc.abstractmethod
    async def expire(self, now_ms: int, silent_ms: int) -> Sequence[str]:
        """Forget devices without a heartbeat for longer than `silent_ms`; return the users who are offline now.

        Each user is returned to one caller only, however many presence servers ask.
        """

    @abc.abstractmethod
    async def presences(self, user_ids: Collection[str]) -> Mapping[str, Presence]:
        """Return the presence of each user."""


class PresencePubSub(abc.ABC):
    """Pub/sub of changes of presence, from the server that notices a change to those that serve the watchers."""

    @abc.abstractmethod
    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        """Publish a change to some users."""

    @abc.abstractmethod
    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `notify` for every change that is published to a user after the return.

        Args:
            user_id: The user.
            notify: Takes a change.
            gap: Called when changes may have been lost, on the way here or because they could not be published, as soon
                as no more are lost. Also called when heartbeats may have been lost, which are whole again after the
                next heartbeat of each device.

        Returns:
            A function that ends the subscription.
        """
