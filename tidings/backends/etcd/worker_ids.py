"""Server numbers, in etcd."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from tidings.backends.etcd.client import EtcdClient, LeaseGone
from tidings.backends.etcd.registry import LEASE_SECONDS
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.ports import WorkerIds
from tidings.core.positions import MAX_WORKER_ID
from tidings.core.reasons import Reason

_log = logging.getLogger(__name__)


class EtcdWorkerIds(WorkerIds):
    """One holder of a number, as a key in etcd under a lease.

    A transaction takes a number only if nobody has it. Which one is drawn by chance, so that the number of a process
    that is cut off, and does not know yet that it has lost it, is hardly ever the next one to be taken.
    """

    def __init__(self, etcd: EtcdClient, holder: str, lease_seconds: int = LEASE_SECONDS) -> None:
        """Holds nothing yet.

        Args:
            etcd: Where; its caller closes it.
            holder: Who holds it, for operators to read.
            lease_seconds: After which the number of a process that has died is free.
        """
        self._etcd = etcd
        self._holder = holder.encode()
        self._lease_seconds = lease_seconds
        self._prefix = etcd.prefix + b"numbers/"
        self._lease = 0
        self._keeper: asyncio.Task[None] | None = None

    async def take(self, lost: Callable[[], None]) -> int:
        """See `WorkerIds.take`."""
        await self.release()
        lease = await self._etcd.grant(self._lease_seconds)
        try:
            number = await self._take(lease)
        except LeaseGone:
            raise unavailable("etcd is too slow for a lease", Reason.ENGINE_UNAVAILABLE) from None
        self._lease = lease
        self._keeper = asyncio.create_task(self._keep(lease, number, lost))
        return number

    async def release(self) -> None:
        """See `WorkerIds.release`. Without etcd, it is free when the lease has run out."""
        keeper, self._keeper = self._keeper, None
        lease, self._lease = self._lease, 0
        if keeper is not None and keeper is not asyncio.current_task():
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if lease:
            try:
                await self._etcd.revoke(lease)
            except Refusal as refusal:
                _log.warning("the server number becomes free when its lease runs out: %s", refusal)

    async def _take(self, lease: int) -> int:
        _, values = await self._etcd.get(self._prefix)
        taken = {int(key[len(self._prefix) :]) for key, _ in values}
        free = [number for number in range(MAX_WORKER_ID + 1) if number not in taken]
        random.shuffle(free)
        for number in free:
            if await self._etcd.put_new(self._prefix + str(number).encode(), self._holder, lease):
                return number
        raise Refusal(
            Code.RESOURCE_EXHAUSTED,
            f"all {MAX_WORKER_ID + 1:,} server numbers are taken",
            reason=Reason.NO_WORKER_ID,
            metadata={"limit": str(MAX_WORKER_ID + 1)},
        )

    async def _keep(self, lease: int, number: int, lost: Callable[[], None]) -> None:
        async for _ in self._etcd.kept(lease, self._lease_seconds):
            pass
        _log.warning("the server number %d is lost: its lease has run out", number)
        self._lease = 0
        lost()
