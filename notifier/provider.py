"""The port to push providers, and the outcomes of handing them a push."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from notifier.notice import Notice


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has taken the push."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The token is not valid any more: it is forgotten, unless the device has set another meanwhile.

    Args:
        reason: A word or two for operators; neither token nor text.
    """

    reason: str = "gone"


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not work now: busy, down, too fast.

    Args:
        reason: A word or two for operators, of a small set; neither token nor text.
        after: The seconds that the provider asked to wait for; None when it did not.
        is_down: Whether it would have been the same with any other push: the provider does not answer, or it refuses
            our credentials.
    """

    reason: str
    after: float | None = None
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never work like this: a payload that the provider does not accept, a token of another app.

    Args:
        reason: A word or two for operators, of a small set; neither token nor text.
    """

    reason: str


Outcome = Sent | Gone | Retry | Failed


class Provider(abc.ABC):
    """A service that wakes devices.

    It is used by several sends at a time, and lets `CancelledError` out: a send that takes too long is cancelled.
    """

    counts_all: ClassVar[bool] = False
    """Whether its notices are to say how much is unread in all channels."""
    can_be_silent: ClassVar[bool] = True
    """Whether a device can be told something without showing it."""

    @abc.abstractmethod
    async def send(self, token: str, notice: Notice) -> Outcome:
        """Hands one push over, in one attempt: whether and when there is another is not the provider's to say.

        Args:
            token: What the provider gave the device.
            notice: What the device is to show. Pushes for one channel replace one another on a device, where the
                provider can do that.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Lets go of connections; no send is under way any more."""
