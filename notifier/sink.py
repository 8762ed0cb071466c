"""The way into the push queue."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from notifier.dispatcher import Dispatcher
from tidings.core.clock import Clock
from tidings.core.ports import DevicePush, PushQueue, PushSink, PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushRead, PushRequest, PushToken

_log = logging.getLogger(__name__)


class QueueSink(PushSink):
    """Puts a push for each device of the people concerned into the queue, and wakes the dispatcher.

    Devices without a token get none. A token whose provider is not configured is left alone; the first of each provider
    makes a line in the log. A text that is not to be shown is not kept either.

    Args:
        queue: Keeps the pushes.
        tokens: Where to reach devices.
        dispatcher: Is woken; knows the providers there are.
        clock: Tells the time.
        preview: The most that any push shows.
    """

    def __init__(
        self,
        queue: PushQueue,
        tokens: PushTokenStore,
        dispatcher: Dispatcher,
        clock: Clock,
        preview: PushPreview = PushPreview.FULL,
    ) -> None:
        self._queue = queue
        self._tokens = tokens
        self._dispatcher = dispatcher
        self._clock = clock
        self._preview = preview
        self._unconfigured: set[PushProvider] = set()

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """See `PushSink.enqueue`."""
        tokens = await self._of_users({request.user_id for request in requests})
        await self._keep(
            [
                DevicePush(self._shown(request, token), token.device_id, token.provider)
                for request in requests
                for token in tokens[request.user_id]
            ]
        )

    async def cancel(self, reads: Sequence[PushRead]) -> None:
        """See `PushSink.cancel`."""
        tokens = await self._of_users({read.user_id for read in reads})
        for read in reads:
            device_ids = [token.device_id for token in tokens[read.user_id]]
            if device_ids:
                await self._queue.cancel(device_ids, read.channel_id, read.upto_seq)
        silent, now_ms = self._dispatcher.silent_providers, self._clock.now_ms()
        await self._keep(
            [
                DevicePush(
                    PushRequest(read.user_id, read.channel_id, read.upto_seq, "", "", now_ms),
                    token.device_id,
                    token.provider,
                )
                for read in reads
                for token in tokens[read.user_id]
                if token.provider in silent
            ]
        )

    async def _keep(self, pushes: Collection[DevicePush]) -> None:
        if not pushes:
            return
        await self._queue.enqueue(list(pushes), self._clock.now_ms())
        for provider, count in Counter(push.provider for push in pushes).items():
            self._dispatcher.metrics.queued(provider, count)
        self._dispatcher.wake()

    async def _of_users(self, user_ids: Collection[str]) -> Mapping[str, Sequence[PushToken]]:
        tokens: defaultdict[str, list[PushToken]] = defaultdict(list)
        for token in await self._tokens.of_users(user_ids):
            if token.provider in self._dispatcher.providers:
                tokens[token.user_id].append(token)
            elif token.provider not in self._unconfigured:
                self._unconfigured.add(token.provider)
                _log.warning("there are tokens of provider %s, which is not configured", token.provider.name)
        return tokens

    def _shown(self, request: PushRequest, token: PushToken) -> PushRequest:
        if min(self._preview, token.preview) < PushPreview.FULL:
            return dataclasses.replace(request, preview="")
        return request
