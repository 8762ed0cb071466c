"""What is measured, how long, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much and how long."""

    runs: int = 3
    warm_up_seconds: float = 2.0
    measured_seconds: float = 5.0
    pairs: int = 50
    connections: int = 2_000
    missed: int = 10_000


QUICK = Sizes(runs=1, warm_up_seconds=1.0, measured_seconds=2.0, connections=200)
"""Enough to see that it works, and roughly how fast."""


@dataclass(frozen=True, slots=True)
class Load:
    """One thing to do to a server."""

    name: str
    title: str
    kind: str
    """What the load generator calls it."""
    arguments: tuple[str, ...] = ()
    """What else to tell the load generator."""
    unit: str = "message"
    """What its rate and its cost are counted in, if they are."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """By figure: the least rate, or the most of anything else."""
    ceiling: bool = True
    """Whether the bare relay can do it too."""

    def command(self, sizes: Sizes) -> list[str]:
        """The load generator's arguments."""
        return [
            f"-load={self.kind}",
            f"-pairs={sizes.pairs}",
            f"-connections={sizes.connections}",
            f"-missed={sizes.missed}",
            f"-warm-up={sizes.warm_up_seconds}s",
            f"-measured={sizes.measured_seconds}s",
            *self.arguments,
        ]


def _group(members: int, in_flight: int = 8, **targets: float) -> Load:
    many = in_flight != 8
    return Load(
        f"group-{members}{f'x{in_flight}' if many else ''}",
        f"group of {members}, {in_flight} in flight",
        "group",
        (f"-members={members}", f"-in-flight={in_flight}"),
        "delivery",
        targets,
    )


LOADS = (
    Load(
        "pairs",
        "pairs, 8 in flight each",
        "pairs",
        ("-in-flight=8",),
        targets={"rate_per_s": 10_000, "server_cpu_us": 120, "deliver_p50_ms": 40},
    ),
    # Commands that share a frame cost a server half: what has targets is measured without that help.
    Load("pairs-batched", "pairs, 8 in flight each, in shared frames", "pairs", ("-in-flight=8", "-batch")),
    _group(2),
    _group(10, rate_per_s=25_000),
    _group(50),
    _group(100, rate_per_s=90_000, server_cpu_us=11),
    _group(100, 32, rate_per_s=150_000, server_cpu_us=7),
    Load(
        "rate",
        "100 messages/s in all",
        "rate",
        ("-rate=100",),
        targets={"accept_p50_ms": 8, "accept_p99_ms": 25, "deliver_p50_ms": 8, "deliver_p99_ms": 25},
    ),
    Load("idle", "idle connections", "idle", unit="connection", targets={"rss_kib": 48}),
    Load("connect", "connecting with a valid token", "connect", unit="connect", targets={"server_cpu_us": 2_000}),
    # Over sooner than Linux counts CPU time, in hundredths of a second: only its own time is measured.
    Load("catchup", "coming back", "catchup", unit="return", targets={"catch_up_ms": 1_000}, ceiling=False),
)
"""All loads, in the order in which they are measured and shown."""
