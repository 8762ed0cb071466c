"""Sign-outs reach every server: whichever has the device's streams ends them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import AccountStore, DeviceStreams, SignOutPubSub
from tidings.rpc.tasks import TaskSet
from tidings.rpc.tokens import Revocations

_log = logging.getLogger(__name__)

# What is published may be lost; the accounts know. This often they are asked.
_LOOK_SECONDS = 4.0
# Accounts are asked a little further back than the last time: the clocks of the storage's nodes differ.
_OVERLAP_SECONDS = 60.0


class SignOutPublisher(DeviceStreams):
    """Tell all servers which devices are signed out.

    Args:
        pubsub: Reaches them.
    """

    def __init__(self, pubsub: SignOutPubSub) -> None:
        self._pubsub = pubsub

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """See `DeviceStreams.end_devices`. It is stored already: a server that is not told asks for it soon."""
        try:
            await self._pubsub.publish(revoked)
        except Refusal as refusal:
            _log.warning("sign-outs are found out later: %s", refusal)


class SignOutFollower:
    """End the streams in this process of devices that are signed out anywhere, and have their tokens refused.

    Args:
        pubsub: Tells of sign-outs at once.
        accounts: Are asked again and again, since what is published may be lost.
        revocations: Refuse the tokens.
        streams: End the streams.
        clock: Tells the time.
    """

    def __init__(
        self,
        pubsub: SignOutPubSub,
        accounts: AccountStore,
        revocations: Revocations,
        streams: DeviceStreams,
        clock: Clock,
    ) -> None:
        self._pubsub = pubsub
        self._accounts = accounts
        self._revocations = revocations
        self._streams = streams
        self._clock = clock
        self._heard: asyncio.Queue[Mapping[str, int]] = asyncio.Queue()
        self._ending = TaskSet()
        self._ask = asyncio.Event()
        self._asked = 0.0

    async def start(self) -> None:
        """Ask for what was signed out before, which has to be known before the first token is checked.

        Raises:
            Refusal: UNAVAILABLE, the accounts cannot be asked.
        """
        self._asked = self._clock.monotonic()
        self._revocations.add(await self._accounts.revoked(self._revocations.kept))

    async def run(self) -> None:
        """Follow, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._subscribe())
            group.create_task(self._obey())
            group.create_task(self._look())

    async def _subscribe(self) -> None:
        while True:
            try:
                unsubscribe = await self._pubsub.subscribe(self._heard.put_nowait, self._ask.set)
                break
            except Refusal as refusal:
                _log.warning("sign-outs are not heard of at once: %s", refusal)
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            await asyncio.Event().wait()
        finally:
            unsubscribe()

    async def _obey(self) -> None:
        while True:
            # Beside: ending one device's calls may take a while, and the next one's sign-out does not wait for it.
            self._ending.start(self._end(await self._heard.get()))

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ask.wait(), _LOOK_SECONDS)
            self._ask.clear()
            self._revocations.forget()
            now = self._clock.monotonic()
            try:
                revoked = await self._accounts.revoked(now - self._asked + _OVERLAP_SECONDS)
            except Refusal as refusal:
                _log.warning("sign-outs are not known: %s", refusal)
                continue
            self._asked = now
            unknown = {each: epoch for each, epoch in revoked.items() if not self._revocations.covers(each, epoch)}
            if unknown:
                self._ending.start(self._end(unknown))

    async def _end(self, revoked: Mapping[str, int]) -> None:
        self._revocations.add(revoked)
        try:
            await self._streams.end_devices(revoked)
        except Refusal as refusal:
            # Their streams are ended; their users go offline when their last heartbeat is too old.
            _log.warning("devices that were signed out are not shown as gone yet: %s", refusal)
