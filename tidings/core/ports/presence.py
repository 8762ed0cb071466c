"""Presence: heartbeats, and the changes that follow from them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence

from tidings.core.values import Presence


class PresenceStore(abc.ABC):
    """The last heartbeat of every device. Soft: wiped, it is whole again after one heartbeat of each."""

    @abc.abstractmethod
    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """Notes a sign of life; True when the user was offline until now."""

    @abc.abstractmethod
    async def leave(self, device_id: str, now_ms: int) -> str | None:
        """Forgets a device, if there; returns its user when they are offline thereby."""

    @abc.abstractmethod
    async def expire(self, before_ms: int) -> Sequence[str]:
        """Forgets devices whose last heartbeat is older than a moment; returns the users who are offline thereby.

        Each user is returned to one caller only, however many presence servers ask.
        """

    @abc.abstractmethod
    async def presences(self, user_ids: Collection[str]) -> Mapping[str, Presence]:
        """The state of each user asked for."""


class PresencePubSub(abc.ABC):
    """Changes of presence, from the server that learns of one to those that serve the people concerned."""

    @abc.abstractmethod
    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        """Tells `watchers` of a change."""

    @abc.abstractmethod
    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Calls `notify` for every change that concerns a user and is published from the return on.

        Args:
            user_id: Who is concerned.
            notify: Takes a change.
            gap: Called when changes may have been missed, by this subscription or by whoever should have published
                them, and are missed no longer. Also called when the heartbeats may have been lost, which are whole
                again after one of each device.

        Returns:
            What ends the subscription.
        """
