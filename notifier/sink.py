"""The way into the queue."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from notifier.dispatcher import Dispatcher
from tidings.core.clock import Clock
from tidings.core.ports import DevicePush, PushQueue, PushSink, PushTokenStore
from tidings.core.values import PushProvider, PushRequest, PushToken

_log = logging.getLogger(__name__)


class QueueSink(PushSink):
    """Puts a push for each device of the people concerned into the queue, and wakes the dispatcher.

    Devices without a token get none. A token whose provider is not configured is left alone; the first of each provider
    makes a line in the log.
    """

    def __init__(self, queue: PushQueue, tokens: PushTokenStore, dispatcher: Dispatcher, clock: Clock) -> None:
        """Keeps pushes in `queue`, for the devices that `tokens` knows and the providers that `dispatcher` has."""
        self._queue = queue
        self._tokens = tokens
        self._dispatcher = dispatcher
        self._clock = clock
        self._unconfigured: set[PushProvider] = set()

    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """See `PushSink.enqueue`."""
        tokens: defaultdict[str, list[PushToken]] = defaultdict(list)
        for token in await self._tokens.of_users({request.user_id for request in requests}):
            if token.provider in self._dispatcher.providers:
                tokens[token.user_id].append(token)
            elif token.provider not in self._unconfigured:
                self._unconfigured.add(token.provider)
                _log.warning("there are tokens of provider %s, which is not configured", token.provider.name)
        pushes = [
            DevicePush(request, token.device_id, token.provider)
            for request in requests
            for token in tokens[request.user_id]
        ]
        if pushes:
            await self._queue.enqueue(pushes, self._clock.now_ms())
            self._dispatcher.wake()
