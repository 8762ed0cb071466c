"""Push: what waits, where to reach devices, and the way to the notifier."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.values import PushProvider, PushRead, PushRequest, PushToken


@dataclass(frozen=True, slots=True)
class DevicePush:
    """One device to wake for one channel: a `PushRequest` on its way to one of the person's devices."""

    request: PushRequest
    device_id: str
    provider: PushProvider


@dataclass(frozen=True, slots=True)
class QueuedPush:
    """A push in the queue, how many attempts have failed, and since when it waits (ms since 1970)."""

    push_id: int
    push: DevicePush
    attempts: int
    queued_at_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A push that was given up: after how many attempts, why, and when (ms since 1970)."""

    push_id: int
    push: DevicePush
    attempts: int
    error: str
    died_at_ms: int


@dataclass(frozen=True, slots=True)
class PushQueueDepth:
    """How many pushes wait, how many were given up, and since when the oldest waits (ms since 1970; 0 for none)."""

    waiting: int
    dead: int
    oldest_ms: int


class PushQueue(abc.ABC):
    """Pushes on stable storage, each for one device, so that no device and no provider waits for another.

    A device has at most one push a channel waiting, the one for the latest message: what is kept for a device and
    channel replaces what waits for them, whether that was tried before or not. A push that is under way (claimed, its
    lease not over) is left alone, and forgotten if it fails after a later one has been kept. Of two with the same seq a
    silent one is the later (`PushRequest.rank`).
    """

    @abc.abstractmethod
    async def enqueue(self, pushes: Sequence[DevicePush], now_ms: int) -> None:
        """Keeps pushes, due at once; returns when they are on stable storage.

        One that is not later than a push which the queue holds for its device and channel changes nothing, so that
        enqueueing again does no harm.
        """

    @abc.abstractmethod
    async def cancel(self, device_ids: Collection[str], channel_id: str, upto_seq: int) -> int:
        """Forgets what waits for some devices and a channel, up to and including a seq.

        What is under way is left alone.

        Returns:
            How many pushes those were.
        """

    @abc.abstractmethod
    async def claim(self, provider: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        """Takes a provider's due pushes, those first that have been due longest.

        Nobody else gets them until the lease is over; unless they are finished by then, they are due again.
        """

    @abc.abstractmethod
    async def next_due_ms(self, provider: PushProvider) -> int | None:
        """When the provider's next push is due, those under way counted with the end of their lease; None for none."""

    @abc.abstractmethod
    async def done(self, push_id: int) -> None:
        """The push has been sent, or there is nobody to send it to."""

    @abc.abstractmethod
    async def retry(self, push_id: int, at_ms: int, *, failed: bool = True) -> None:
        """The push is due again at a moment: an attempt failed, or (not `failed`) there was none that counts."""

    @abc.abstractmethod
    async def give_up(self, push_id: int, error: str, now_ms: int) -> None:
        """An attempt failed, and it was the last: the push goes to the dead letters.

        Of a device and channel only the latest push is there.
        """

    @abc.abstractmethod
    async def depth(self) -> PushQueueDepth:
        """How full the queue is."""

    @abc.abstractmethod
    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """The pushes that were given up, the latest first."""

    @abc.abstractmethod
    async def replay(self, push_id: int, now_ms: int) -> bool:
        """Takes a dead letter back into the queue as if it were new; False when there is none of that id."""

    @abc.abstractmethod
    async def drop(self, push_id: int) -> bool:
        """Forgets a dead letter; False when there is none of that id."""


class PushTokenStore(abc.ABC):
    """Where to reach devices."""

    @abc.abstractmethod
    async def set(self, token: PushToken) -> None:
        """Keeps a device's token in place of an earlier one."""

    @abc.abstractmethod
    async def remove(self, device_id: str, token: str | None = None) -> None:
        """Forgets a device's token; given `token`, only if it is that one still."""

    @abc.abstractmethod
    async def of_device(self, device_id: str) -> PushToken | None:
        """A device's token."""

    @abc.abstractmethod
    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        """The tokens of some users' devices."""


class PushSink(abc.ABC):
    """The way to the notifier."""

    @abc.abstractmethod
    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """Returns once the requests are on stable storage."""

    @abc.abstractmethod
    async def cancel(self, reads: Sequence[PushRead]) -> None:
        """Takes back what waits for people who have read it, and lets their devices know silently what is left unread.

        Returns once that is on stable storage.
        """


class PendingPush(abc.ABC):
    """Which channels have messages for which no push has been decided; it survives a crash."""

    @abc.abstractmethod
    async def channels(self) -> Mapping[str, int]:
        """By channel: the first seq not decided yet."""

    @abc.abstractmethod
    async def decided(self, channel_id: str, next_seq: int | None) -> None:
        """Everything below `next_seq` has been decided; None: everything, until a batch wakes the channel again."""
