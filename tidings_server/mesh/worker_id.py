"""The worker id of a chat server, which it must not go on using when somebody else may have it."""

from __future__ import annotations

import asyncio
import logging

from tidings.core.errors import Refusal
from tidings.core.ports import WorkerIds
from tidings.core.positions import Positions
from tidings.rpc.tasks import TaskSet

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class WorkerIdHolder:
    """Hold a worker id for positions, and take another one whenever its lease has run out.

    Args:
        worker_ids: Where ids are leased.
        positions: Are given out with the id.
    """

    def __init__(self, worker_ids: WorkerIds, positions: Positions) -> None:
        self._worker_ids = worker_ids
        self._positions = positions
        self._tasks = TaskSet()

    async def take(self) -> None:
        """Take an id.

        Raises:
            Refusal: UNAVAILABLE or RESOURCE_EXHAUSTED, there is none now.
        """
        self._positions.change_worker_id(await self._worker_ids.take(lambda: self._tasks.start(self._take_again())))

    async def release(self) -> None:
        """Give the id back, for another server."""
        await self._worker_ids.release()

    async def _take_again(self) -> None:
        while True:
            try:
                await self.take()
                return
            except Refusal as refusal:
                _log.warning("another worker id is not to be had yet: %s", refusal)
            await asyncio.sleep(_RETRY_SECONDS)
