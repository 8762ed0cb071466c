"""The gRPC edge of discovery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

from grpc import aio

from tidings.core.errors import invalid, unavailable
from tidings.core.ports import Recommender, Registry
from tidings.core.reasons import Reason
from tidings.core.values import Server, ServerKind
from tidings.v1 import discovery_pb2, discovery_pb2_grpc

_RecommendContext: TypeAlias = (
    "aio.ServicerContext[discovery_pb2.RecommendServersRequest, discovery_pb2.RecommendServersResponse]"
)
_WatchContext: TypeAlias = "aio.ServicerContext[discovery_pb2.WatchServersRequest, discovery_pb2.WatchServersResponse]"


class DiscoveryService(discovery_pb2_grpc.DiscoveryServiceServicer):
    """`tidings.v1.DiscoveryService`.

    Args:
        recommender: Ranks servers.
        registry: Knows the servers.
    """

    def __init__(self, recommender: Recommender, registry: Registry) -> None:
        self._recommender = recommender
        self._registry = registry

    async def RecommendServers(
        self, request: discovery_pb2.RecommendServersRequest, context: _RecommendContext
    ) -> discovery_pb2.RecommendServersResponse:
        """See the contract."""
        kind = _kind(request.kind)
        coordinates = _coordinates(request.coordinates) if request.HasField("coordinates") else None
        servers = self._recommender.recommend(kind, request.region, coordinates, request.exclude_server_ids)
        if not servers:
            raise unavailable(f"no {kind.name.lower()} server is there now", Reason.NO_SERVER)
        return discovery_pb2.RecommendServersResponse(servers=map(to_message, servers))

    async def WatchServers(
        self, request: discovery_pb2.WatchServersRequest, context: _WatchContext
    ) -> AsyncIterator[discovery_pb2.WatchServersResponse]:
        """See the contract."""
        async for servers in self._registry.watch(_kind(request.kind)):
            yield discovery_pb2.WatchServersResponse(servers=map(to_message, servers))


def to_message(server: Server) -> discovery_pb2.Server:
    """Show a server as a message of the contract."""
    return discovery_pb2.Server(
        server_id=server.server_id,
        kind=discovery_pb2.ServerKind.Name(server.kind),
        endpoint=server.endpoint,
        region=server.region,
        load=server.load,
    )


def _kind(kind: int) -> ServerKind:
    # Those of the contract: others exist, which are nobody's to dial.
    known = discovery_pb2.ServerKind.values()
    if kind not in known:
        raise invalid("kind", f"is {kind}, which is none of {', '.join(map(str, known))}", actual=kind)
    return ServerKind(kind or ServerKind.CHAT)


def _coordinates(coordinates: discovery_pb2.Coordinates) -> tuple[float, float]:
    _check_degrees("coordinates.latitude", coordinates.latitude, 90)
    _check_degrees("coordinates.longitude", coordinates.longitude, 180)
    return coordinates.latitude, coordinates.longitude


def _check_degrees(field: str, degrees: float, most: int) -> None:
    # Written so that NaN fails too.
    if not -most <= degrees <= most:
        raise invalid(field, f"is {degrees}, from -{most} to {most} is allowed", limit=most, actual=degrees)
