"""Sign-outs reach every server: whichever has the device's streams ends them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping

from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.ports import AccountStore, DeviceStreams, SignOutPubSub
from tidings.rpc.tokens import Revocations

_log = logging.getLogger(__name__)

# What is published may be lost; the accounts know. This often they are asked.
_LOOK_SECONDS = 5.0
# Accounts are asked a little further back than the last time: clocks differ.
_OVERLAP_MS = 30_000


class SignOutPublisher(DeviceStreams):
    """Tell all servers which devices are signed out.

    Args:
        pubsub: Reaches them.
        clock: Tells when.
    """

    def __init__(self, pubsub: SignOutPubSub, clock: Clock) -> None:
        self._pubsub = pubsub
        self._clock = clock

    async def end_devices(self, device_ids: Collection[str]) -> None:
        """See `DeviceStreams.end_devices`. It is stored already: a server that is not told asks for it soon."""
        try:
            await self._pubsub.publish(device_ids, self._clock.now_ms())
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
        self._heard: asyncio.Queue[tuple[Collection[str], int]] = asyncio.Queue()
        self._ask = asyncio.Event()
        self._asked_ms = 0

    async def start(self) -> None:
        """Ask for what was signed out before, which has to be known before the first token is checked.

        Raises:
            Refusal: UNAVAILABLE, the accounts cannot be asked.
        """
        self._asked_ms = self._clock.now_ms()
        self._revocations.add(await self._accounts.revoked_since(self._revocations.oldest_ms()))

    async def run(self) -> None:
        """Follow, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._subscribe())
            group.create_task(self._obey())
            group.create_task(self._look())

    async def _subscribe(self) -> None:
        while True:
            try:
                unsubscribe = await self._pubsub.subscribe(
                    lambda device_ids, at_ms: self._heard.put_nowait((device_ids, at_ms)), self._ask.set
                )
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
            device_ids, at_ms = await self._heard.get()
            await self._end(dict.fromkeys(device_ids, at_ms))

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ask.wait(), _LOOK_SECONDS)
            self._ask.clear()
            now = self._clock.now_ms()
            try:
                revoked = await self._accounts.revoked_since(self._asked_ms - _OVERLAP_MS)
            except Refusal as refusal:
                _log.warning("sign-outs are not known: %s", refusal)
                continue
            self._asked_ms = now
            unknown = {device: at for device, at in revoked.items() if not self._revocations.covers(device, at)}
            if unknown:
                await self._end(unknown)

    async def _end(self, revoked: Mapping[str, int]) -> None:
        self._revocations.add(revoked)
        try:
            await self._streams.end_devices(revoked.keys())
        except Refusal as refusal:
            # Their streams are ended; their users go offline when their last heartbeat is too old.
            _log.warning("devices that were signed out are not shown as gone yet: %s", refusal)
