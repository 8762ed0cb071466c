"""Sessions: the servers that hold them, and how they end."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping


class DeviceStreams(abc.ABC):
    """The live streams of devices, and the other calls that they have under way."""

    @abc.abstractmethod
    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """End the streams and calls of devices that have been signed out, at once.

        Args:
            revoked: The devices, each with the epoch up to which its access tokens must not work.
        """


class Routes(abc.ABC):
    """The chat servers that hold sessions of each user. It is soft state: the servers write it again after a loss."""

    @abc.abstractmethod
    async def add(self, user_id: str, server_id: str) -> None:
        """Note that a server holds a session of a user. The route is forgotten after some time, unless refreshed."""

    @abc.abstractmethod
    async def remove(self, user_id: str, server_id: str) -> None:
        """Note that a server holds no session of a user any more."""

    @abc.abstractmethod
    async def refresh(self, server_id: str, user_ids: Collection[str]) -> None:
        """Note that a server still, or again, holds sessions of some users. Its other routes stay as they are."""

    @abc.abstractmethod
    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the servers that hold sessions of some users, each with those of the users.

        Args:
            user_ids: The users, each once.

        Raises:
            Refusal: UNAVAILABLE when the routes of some of the users are not known.
        """

    @abc.abstractmethod
    async def epoch(self) -> str:
        """Return a word that changes when routes may have been lost.

        A server reads it before it adds its first route, and every second from then on. When the word has changed, the
        server refreshes all its routes.
        """


class SignOutPubSub(abc.ABC):
    """Pub/sub of devices that have been signed out, to all servers at once.

    Messages may be lost. The truth is `AccountStore.revoked`, which each subscriber also asks from time to time.
    """

    @abc.abstractmethod
    async def publish(self, revoked: Mapping[str, int]) -> None:
        """Publish devices, each with the epoch up to which its access tokens must not work."""

    @abc.abstractmethod
    async def subscribe(
        self, notify: Callable[[Mapping[str, int]], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `notify` with everything that is published after the return.

        Args:
            notify: Takes the devices and their epochs.
            gap: Called when messages may have been lost, as soon as no more are lost: the time to ask for the truth.

        Returns:
            A function that ends the subscription.
        """
