"""Where clients go that follow recommendations while the loads these are made from are seconds old."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench.simulation.placement import Balance, balance, names
from discovery.recommender import NearestFirst
from tidings.backends.memory.registry import MemoryRegistry
from tidings.core.values import Server, ServerKind

_EQUALLY_LOADED = 0.1
_SHARED_BY = 0.1
"""What the recommender takes for no difference, and the share of servers that it mixes at least. The comparison with it
shows whether that is still so."""

_REPORT_SECONDS = 3
"""How often servers report their load."""


def first_choices(loads: Sequence[float]) -> list[int]:
    """Which servers may be recommended first, all equally likely: the faster equivalent of the recommender.

    Args:
        loads: Of servers equally near, as last reported.
    """
    free = [number for number, load in enumerate(loads) if load < 1] or list(range(len(loads)))
    free.sort(key=loads.__getitem__)
    together = math.ceil(len(free) * _SHARED_BY)
    most = loads[free[0]] + _EQUALLY_LOADED
    return [number for place, number in enumerate(free) if place < together or loads[number] <= most]


@dataclass(slots=True)
class Fleet:
    """Chat servers of one region, their streams, and what they have last reported."""

    streams: list[int]
    capacity: int
    report_seconds: int
    reported: list[float] = field(init=False)

    def __post_init__(self) -> None:
        """All have just reported."""
        self.reported = [self.load(number) for number in range(len(self.streams))]

    def load(self, number: int) -> float:
        """What a server would report now."""
        return min(1.0, self.streams[number] / self.capacity)

    def step(self, second: int, arrivals: int, draw: random.Random) -> Counter[int]:
        """One second: some servers report, some clients leave, as many come.

        Args:
            second: The time; each server has its own moment to report.
            arrivals: How many clients come.
            draw: Chance.

        Returns:
            How many came to each server.
        """
        for number in range(second % self.report_seconds, len(self.streams), self.report_seconds):
            self.reported[number] = self.load(number)
        choices = first_choices(self.reported)
        came = Counter(draw.choices(choices, k=arrivals))
        total = sum(self.streams)
        for number, streams in enumerate(self.streams):
            # Rounded by chance, or a little would be lost every second.
            self.streams[number] = int(streams * (1 - arrivals / total) + draw.random()) + came[number]
        return came


@dataclass(frozen=True, slots=True)
class Newcomers:
    """What becomes of servers that have just started among many that are in use."""

    servers: int
    most_arrivals: int
    """At one server in one second."""
    highest_load: float
    """That a newcomer reached, in capacities: over 1 is over full."""
    level_after: int | None
    """The second at which the fullest and the emptiest server are within a tenth of the mean; None when none was."""
    end: Balance
    """Of the streams, at the end."""


def newcomers(servers: int, fresh: int, per_server: int, churn: float, seconds: int, draw: random.Random) -> Newcomers:
    """Lets clients come and go.

    Args:
        servers: How many chat servers there are.
        fresh: How many of them have no stream at first.
        per_server: How many each of the others has; they are half full.
        churn: The share of clients that leave, and come again somewhere, each second.
        seconds: How long.
        draw: Chance.
    """
    fleet = Fleet([0] * fresh + [per_server] * (servers - fresh), 2 * per_server, _REPORT_SECONDS)
    arrivals = round(sum(fleet.streams) * churn)
    most, highest, level_after = 0, 0.0, None
    for second in range(seconds):
        came = fleet.step(second, arrivals, draw)
        most = max(most, *came.values())
        highest = max(highest, *fleet.streams[: fresh or servers])
        mean = sum(fleet.streams) / servers
        if level_after is None and min(fleet.streams) >= 0.9 * mean and max(fleet.streams) <= 1.1 * mean:
            level_after = second
    return Newcomers(fresh, most, highest / fleet.capacity, level_after, balance(fleet.streams))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether the recommender recommends what its equivalent says."""

    outside: int
    """How many first recommendations were of servers that the equivalent rules out."""
    spread: Balance
    """Of the first recommendations over the servers that it allows."""
    recommend_us: float
    """What one recommendation costs: CPU time."""


async def agreement(loads: Sequence[float], asked: int, draw: random.Random, cpu: Callable[[], float]) -> Agreement:
    """Asks the recommender itself.

    Args:
        loads: Of servers equally near.
        asked: How often to ask.
        draw: Chance.
        cpu: Tells the CPU seconds that this process has used.
    """
    registry = MemoryRegistry()
    ids = names("server", len(loads))
    here = Server("", ServerKind.CHAT, "", "region", 0.0, 50.1, 8.7)
    for server_id, load in zip(ids, loads, strict=True):
        await registry.register(replace(here, server_id=server_id, endpoint=f"{server_id}:7400", load=load))
    recommender = NearestFirst(registry, draw.random)
    begun = cpu()
    firsts = Counter(recommender.recommend(ServerKind.CHAT, "region")[0].server_id for _ in range(asked))
    recommend_us = (cpu() - begun) * 1e6 / asked
    allowed = [ids[number] for number in first_choices(loads)]
    inside = [firsts[server_id] for server_id in allowed]
    return Agreement(asked - sum(inside), balance(inside), recommend_us)
