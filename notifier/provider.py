"""What carries pushes to devices, and what can come of handing one over."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from tidings.core.values import PushRequest


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has taken the push."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The token is not valid any more: it is forgotten, unless the device has set another meanwhile."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not work now: busy, down, too fast.

    Args:
        reason: A word or two for operators; neither token nor text.
        after: The seconds that the provider asked to wait for; None when it did not.
    """

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never work like this: refused credentials, a payload that the provider does not accept.

    Args:
        reason: A word or two for operators; neither token nor text.
    """

    reason: str


Outcome = Sent | Gone | Retry | Failed


class Provider(abc.ABC):
    """A service that wakes devices.

    It is used by several sends at a time, and lets `CancelledError` out: a send that takes too long is cancelled.
    """

    @abc.abstractmethod
    async def send(self, token: str, request: PushRequest) -> Outcome:
        """Hands one push over, in one attempt: whether and when there is another is not the provider's to say.

        Args:
            token: What the provider gave the device.
            request: What the device is to show. Pushes for one channel replace one another on a device, where the
                provider can do that.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Lets go of connections; no send is under way any more."""
