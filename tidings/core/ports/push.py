"""Push: the queue, the tokens of devices, the way to the notifier, and the channels that wait for a decision."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.values import PushProvider, PushRead, PushRequest, PushToken


@dataclass(frozen=True, slots=True)
class DevicePush:
    """A push to one device about one channel: a `PushRequest` on its way to one of the user's devices."""

    request: PushRequest
    device_id: str
    provider: PushProvider


@dataclass(frozen=True, slots=True)
class QueuedPush:
    """A push in the queue."""

    push_id: int
    push: DevicePush
    attempts: int
    """How many attempts have failed."""
    queued_at_ms: int
    """Since when it waits, in ms since 1970."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A push that was given up."""

    push_id: int
    push: DevicePush
    attempts: int
    """How many attempts have failed."""
    error: str
    """Why the last one failed."""
    died_at_ms: int
    """When it was given up, in ms since 1970."""


@dataclass(frozen=True, slots=True)
class PushQueueDepth:
    """The fill of the push queue."""

    waiting: int
    """How many pushes wait."""
    dead: int
    """How many dead letters there are."""
    oldest_ms: int
    """Since when the oldest push waits, in ms since 1970; 0 when none does."""


LONGEST_WAIT_MS = 7 * 86_400_000
"""No push is put off for so long: what seems to be due later was written while a clock was ahead, and is due now."""


class PushQueue(abc.ABC):
    """Pushes on stable storage, each for one device, so that no device and no provider waits for another.

    At most one push waits for a device and channel, the one for the latest message. A push that is enqueued replaces
    the one that waits, whether that was tried before or not. A push that is under way (it is claimed, and its lease is
    not over) stays as it is, and is forgotten if it fails after a later one has been enqueued. Of two pushes with the
    same seq a silent one is the later (`PushRequest.rank`).
    """

    @abc.abstractmethod
    async def enqueue(self, pushes: Sequence[DevicePush], now_ms: int) -> None:
        """Enqueue pushes, due at once. It returns once they are on stable storage.

        A push that is not later than one which the queue holds for its device and channel changes nothing, so pushes
        may be enqueued again.
        """

    @abc.abstractmethod
    async def cancel(self, device_ids: Collection[str], channel_id: str, upto_seq: int) -> int:
        """Forget the pushes that wait for some devices and a channel, up to and including a seq.

        Pushes under way stay as they are.

        Returns:
            How many pushes were forgotten.
        """

    @abc.abstractmethod
    async def claim(self, provider: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        """Claim due pushes of a provider, those first that have been due longest.

        No other caller gets them until the lease is over. A push that is not finished by then is due again.
        """

    @abc.abstractmethod
    async def next_due_ms(self, provider: PushProvider) -> int | None:
        """Return when a provider's next push is due; None when there is none. One under way is due after its lease."""

    @abc.abstractmethod
    async def done(self, push_id: int) -> None:
        """Finish a push that has been sent, or whose device cannot be reached any more."""

    @abc.abstractmethod
    async def retry(self, push_id: int, at_ms: int, *, failed: bool = True) -> None:
        """Make a push due again at a time, after a failed attempt or, without `failed`, one that does not count."""

    @abc.abstractmethod
    async def give_up(self, push_id: int, error: str, now_ms: int) -> None:
        """Move a push to the dead letters after its last attempt failed.

        Of each device and channel only the latest push is kept there.
        """

    @abc.abstractmethod
    async def depth(self) -> PushQueueDepth:
        """Return how full the queue is."""

    @abc.abstractmethod
    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Return the pushes that were given up, the latest first."""

    @abc.abstractmethod
    async def requeue(self, push_id: int, now_ms: int) -> bool:
        """Put a dead letter back into the queue as if it were new; return False when there is none of that id."""

    @abc.abstractmethod
    async def drop(self, push_id: int) -> bool:
        """Forget a dead letter; return False when there is none of that id."""


class PushTokenStore(abc.ABC):
    """The push tokens of devices."""

    @abc.abstractmethod
    async def set(self, token: PushToken) -> None:
        """Set a device's token, in place of an earlier one."""

    @abc.abstractmethod
    async def remove(self, device_id: str, token: str | None = None) -> None:
        """Remove a device's token; with `token`, only if it is still that one."""

    @abc.abstractmethod
    async def of_device(self, device_id: str) -> PushToken | None:
        """Return a device's token; None when it has none."""

    @abc.abstractmethod
    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        """Return the tokens of all devices of some users."""


class PushSink(abc.ABC):
    """The way to the notifier."""

    @abc.abstractmethod
    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """Enqueue push requests. It returns once they are on stable storage."""

    @abc.abstractmethod
    async def cancel(self, reads: Sequence[PushRead]) -> None:
        """Cancel the pushes that wait for users who have read a channel, and send their devices silent ones instead.

        It returns once that is on stable storage.
        """


class PendingPush(abc.ABC):
    """The channels with messages for which no push has been decided. They survive a crash."""

    @abc.abstractmethod
    async def channels(self) -> Mapping[str, int]:
        """Return the first seq without a decision, by channel."""

    @abc.abstractmethod
    async def decided(self, channel_id: str, next_seq: int | None) -> None:
        """Note that everything below `next_seq` of a channel is decided; None for all, until a batch wakes it again."""
