"""Worker ids, in etcd."""

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
    """Holds the worker id of a process, as a key in etcd under a lease.

    A transaction takes an id only if it is free. The id is drawn at random. So the id of a process that is cut off,
    and does not know yet that it has lost the id, is hardly ever the next one to be taken.

    Args:
        etcd: The client of etcd; the caller closes it.
        holder: The name of the process, for operators to read.
        lease_seconds: After how long the id of a process that has died is free.
    """

    def __init__(self, etcd: EtcdClient, holder: str, lease_seconds: int = LEASE_SECONDS) -> None:
        self._etcd = etcd
        self._holder = holder.encode()
        self._lease_seconds = lease_seconds
        # Not called worker-ids: servers of an earlier version, which a rolling upgrade runs beside, look here.
        self._prefix = etcd.prefix + b"numbers/"
        self._lease = 0
        self._keeper: asyncio.Task[None] | None = None

    async def take(self, lost: Callable[[], None]) -> int:
        """See `WorkerIds.take`."""
        await self.release()
        lease = await self._etcd.grant(self._lease_seconds)
        try:
            worker_id = await self._take(lease)
        except LeaseGone:
            raise unavailable("etcd is too slow for a lease", Reason.ENGINE_UNAVAILABLE) from None
        self._lease = lease
        self._keeper = asyncio.create_task(self._keep(lease, worker_id, lost))
        return worker_id

    async def release(self) -> None:
        """See `WorkerIds.release`. Without etcd, the id is free when the lease has run out."""
        keeper, self._keeper = self._keeper, None
        lease, self._lease = self._lease, 0
        if keeper is not None and keeper is not asyncio.current_task():
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if lease:
            try:
                await self._etcd.revoke(lease)
            except Refusal as refusal:
                _log.warning("the worker id becomes free when its lease runs out: %s", refusal)

    async def _take(self, lease: int) -> int:
        _, values = await self._etcd.get(self._prefix)
        taken = {int(key[len(self._prefix) :]) for key, _ in values}
        free = [worker_id for worker_id in range(MAX_WORKER_ID + 1) if worker_id not in taken]
        random.shuffle(free)
        for worker_id in free:
            if await self._etcd.put_new(self._prefix + str(worker_id).encode(), self._holder, lease):
                return worker_id
        raise Refusal(
            Code.RESOURCE_EXHAUSTED,
            f"all {MAX_WORKER_ID + 1:,} worker ids are taken",
            reason=Reason.NO_WORKER_ID,
            metadata={"limit": str(MAX_WORKER_ID + 1)},
        )

    async def _keep(self, lease: int, worker_id: int, lost: Callable[[], None]) -> None:
        async for _ in self._etcd.kept(lease, self._lease_seconds):
            pass
        _log.warning("the worker id %d is lost: its lease has run out", worker_id)
        self._lease = 0
        lost()
