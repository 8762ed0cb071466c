"""What is measured, how long, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunSizes:
    """How much and how long."""

    runs: int = 3
    warm_up_seconds: float = 2.0
    measured_seconds: float = 5.0
    pairs: int = 50
    connections: int = 2_000
    missed: int = 10_000


QUICK = RunSizes(runs=1, warm_up_seconds=1.0, measured_seconds=2.0, connections=200)
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

    def command(self, sizes: RunSizes) -> list[str]:
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


def pairs(in_flight: int, **targets: float) -> Load:
    """In each pair one person writes to the other."""
    name = "pairs" if in_flight == 8 else f"pairs-x{in_flight}"
    return Load(name, f"pairs, {in_flight} in flight each", "pairs", (f"-in-flight={in_flight}",), targets=targets)


def group(members: int, in_flight: int = 8, **targets: float) -> Load:
    """One member of a group writes to all others."""
    many = in_flight != 8
    return Load(
        f"group-{members}{f'x{in_flight}' if many else ''}",
        f"group of {members}, {in_flight} in flight",
        "group",
        (f"-members={members}", f"-in-flight={in_flight}"),
        "delivery",
        targets,
    )


def rate(per_second: int, **targets: float) -> Load:
    """The pairs write at a fixed rate, all together."""
    name = "rate" if per_second == 100 else f"rate-{per_second}"
    return Load(name, f"{per_second:,} messages/s in all", "rate", (f"-rate={per_second}",), targets=targets)


def idle(connections: int | None = None, **targets: float) -> Load:
    """Connections that do nothing, as many as `RunSizes` says unless told otherwise."""
    if connections is None:
        return Load("idle", "idle connections", "idle", unit="connection", targets=targets)
    title = f"{connections:,} idle connections"
    return Load(f"idle-{connections}", title, "idle", (f"-connections={connections}",), unit="connection")


LOADS = (
    pairs(8, rate_per_s=10_000, server_cpu_us=120, deliver_p50_ms=40),
    # Commands that share a frame cost a server half: what has targets is measured without that help.
    Load("pairs-batched", "pairs, 8 in flight each, in shared frames", "pairs", ("-in-flight=8", "-batch")),
    group(2),
    group(10, rate_per_s=25_000),
    group(50),
    group(100, rate_per_s=90_000, server_cpu_us=11),
    group(100, 32, rate_per_s=150_000, server_cpu_us=7),
    rate(100, accept_p50_ms=8, accept_p99_ms=25, deliver_p50_ms=8, deliver_p99_ms=25),
    idle(rss_kib=48),
    Load("connect", "connecting with a valid token", "connect", unit="connect", targets={"server_cpu_us": 2_000}),
    # Over sooner than Linux counts CPU time, in hundredths of a second: only its own time is measured.
    Load("catchup", "coming back", "catchup", unit="return", targets={"catch_up_ms": 1_000}, ceiling=False),
)
"""What is measured unless told otherwise, in the order in which it is shown."""
