"""Sessions: which server holds whose, and how they end."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping


class DeviceStreams(abc.ABC):
    """The live streams of devices."""

    @abc.abstractmethod
    async def end_devices(self, device_ids: Collection[str]) -> None:
        """Ends the streams of devices that have been signed out, at once, and refuses their access tokens."""


class Routes(abc.ABC):
    """Which chat servers hold sessions of whom. Soft: whoever wrote into it writes it again when it was lost."""

    @abc.abstractmethod
    async def add(self, user_id: str, server_id: str) -> None:
        """Notes that a server holds a session of a user. That is forgotten some time after, unless refreshed."""

    @abc.abstractmethod
    async def remove(self, user_id: str, server_id: str) -> None:
        """Notes that a server holds no session of a user any more."""

    @abc.abstractmethod
    async def refresh(self, server_id: str, user_ids: Collection[str]) -> None:
        """Notes that a server holds sessions of these users, still or again; it forgets none of the others."""

    @abc.abstractmethod
    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """The servers that hold sessions of any of the users, with those of the users; each id is given once.

        Raises:
            Refusal: UNAVAILABLE when that is not known of all of them.
        """

    @abc.abstractmethod
    async def epoch(self) -> str:
        """A word that changes when routes may have been lost.

        A server reads it before it adds its first route, and every second from then on; when it has changed, the
        server refreshes all its sessions.
        """


class SignOutPubSub(abc.ABC):
    """Devices that have been signed out, told to all servers at once.

    News may be lost; the truth is `AccountStore.revoked_since`, which whoever subscribes asks now and then as well.
    """

    @abc.abstractmethod
    async def publish(self, device_ids: Collection[str], at_ms: int) -> None:
        """Tells of devices whose access tokens from before a moment must not work."""

    @abc.abstractmethod
    async def subscribe(
        self, notify: Callable[[Collection[str], int], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Calls `notify` with whatever is published from the return on.

        Args:
            notify: Takes the ids and the moment.
            gap: Called when news may have been missed and are missed no longer: the time to ask for the truth.

        Returns:
            What ends the subscription.
        """
