"""Ranks servers for a caller: near ones first, then those with free capacity."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence

from tidings.core.ports import Recommender, Registry
from tidings.core.values import Server, ServerKind

MOST = 5
"""How many servers are recommended at most."""

_EARTH_RADIUS_KM = 6371.0
# Light needs half a millisecond for it, and the data centres of one region are within it.
_EQUALLY_NEAR_KM = 100.0
# Loads are seconds old: less than that between two servers says nothing, and following it would send everyone who asks
# until the next report to the same one.
_EQUALLY_LOADED = 0.1
# Of many servers, the emptiest tenth count as equal whatever their loads: one that has just started among a thousand
# would otherwise get everyone who comes until it is as full as the others, and be over full by its next report.
_SHARED_BY = 0.1

Coordinates = tuple[float, float]


class NearestFirst(Recommender):
    """Recommends the servers of a registry's latest view: near ones first, of those the ones with most free capacity.

    Servers about equally near count as equal. Of those the ones about equally loaded are mixed, and at least a tenth of
    them, so that many who ask at once do not all go to one. Servers that drain are left out; those that are full come
    after all that are not, and those that the caller excludes come last, which is better than none.

    Args:
        registry: Knows the servers.
        draw: Gives numbers from 0 to 1 that mix equal servers.
    """

    def __init__(self, registry: Registry, draw: Callable[[], float] = random.random) -> None:
        self._registry = registry
        self._draw = draw

    def recommend(
        self,
        kind: ServerKind,
        region: str = "",
        coordinates: Coordinates | None = None,
        exclude: Collection[str] = (),
    ) -> Sequence[Server]:
        """See `Recommender.recommend`; at most `MOST`."""
        alive = self._registry.servers(kind)
        servers = [server for server in alive if not server.draining]
        distance = _distance_from(region, coordinates, alive)
        excluded = frozenset(exclude)
        ranks: list[list[Server]] = [[], [], []]
        for server in servers:
            ranks[2 if server.server_id in excluded else 1 if server.load >= 1 else 0].append(server)
        ranked: list[Server] = []
        for rank in ranks:
            for near in _alike(rank, distance, _EQUALLY_NEAR_KM):
                together = math.ceil(len(near) * _SHARED_BY)
                for equal in _alike(near, lambda server: server.load, _EQUALLY_LOADED, together):
                    ranked += sorted(equal, key=lambda _: self._draw())
                    if len(ranked) >= MOST:
                        return ranked[:MOST]
        return ranked


def _alike(
    servers: Collection[Server], measure: Callable[[Server], float], width: float, at_least: int = 1
) -> Iterator[list[Server]]:
    """Group servers by a measure, ascending.

    Each group reaches from its lowest up to `width` above that, and further until it has so many.
    """
    group: list[Server] = []
    lowest = 0.0
    for measured, server in sorted(((measure(server), server) for server in servers), key=lambda pair: pair[0]):
        if len(group) >= at_least and measured > lowest + width:
            yield group
            group = []
        if not group:
            lowest = measured
        group.append(server)
    if group:
        yield group


def _distance_from(
    region: str, coordinates: Coordinates | None, servers: Collection[Server]
) -> Callable[[Server], float]:
    """Make a measure: how far servers are from somebody, in km; infinite when nothing tells."""
    # Whoever names only a region is where any server of it is, and as near to all of them.
    home = (_place(server) for server in servers if region and server.region == region)
    where = coordinates or next(filter(None, home), None)

    def distance_km(server: Server) -> float:
        place = _place(server)
        if region and server.region == region and (coordinates is None or place is None):
            return 0.0
        return haversine_km(where, place) if where and place else math.inf

    return distance_km


def _place(server: Server) -> Coordinates | None:
    place = server.latitude, server.longitude
    # A point in the Gulf of Guinea: what a server has that was told no coordinates.
    return None if place == (0.0, 0.0) else place


def haversine_km(one: Coordinates, other: Coordinates) -> float:
    """The distance of two places on the Earth's surface.

    Args:
        one: Latitude and longitude in degrees.
        other: The same.

    Returns:
        Kilometres, on a sphere: within 0.5 % of the truth.
    """
    latitude, other_latitude = math.radians(one[0]), math.radians(other[0])
    half_chord = (
        math.sin((other_latitude - latitude) / 2) ** 2
        + math.cos(latitude) * math.cos(other_latitude) * math.sin(math.radians(other[1] - one[1]) / 2) ** 2
    )
    # Rounding may carry it over 1 for opposite places.
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half_chord)))
