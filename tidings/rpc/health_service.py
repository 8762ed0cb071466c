"""`grpc.health.v1.Health`: what load balancers, probes and clients ask before they send anybody here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, TypeAlias

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2

from tidings.core.errors import not_found

ALIVE = "alive"
"""A service that is served until the end, also while the others are not any more: for probes that kill."""
WATCHERS = 1_000
"""How many may watch at once, on each listener: nobody signs in for it."""

_Context: TypeAlias = "aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]"


class HealthService:
    """Tells whether services are served.

    A change only wakes those who watch, and each is written to in its own time. The library's servicer holds a lock
    while it writes, and whoever sets a status waits for it: one reader that reads nothing would hold up the end of the
    server.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {ALIVE: health_pb2.HealthCheckResponse.SERVING}
        self._watchers: set[asyncio.Event] = set()

    def set(self, services: Collection[str], status: int) -> None:
        """Set the status of some services, by their full names; "" is the server as a whole."""
        self._statuses.update(dict.fromkeys(services, status))
        for changed in self._watchers:
            changed.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        """See health.proto."""
        status = self._statuses.get(request.service)
        if status is None:
            raise not_found("service", "service")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(
        self, _: health_pb2.HealthListRequest, context: aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthListResponse:
        """See health.proto."""
        statuses = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """See health.proto."""
        if len(self._watchers) >= WATCHERS:
            # The one status that a gRPC client takes as healthy: who fills the places takes nobody off the server.
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{WATCHERS:,} watch already; Check tells the same")
        changed, last = asyncio.Event(), -1
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                status = self._statuses.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
                if status != last:
                    last = status
                    yield health_pb2.HealthCheckResponse(status=status)
                await changed.wait()
        finally:
            self._watchers.discard(changed)
