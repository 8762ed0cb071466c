"""Measuring: every load, several times, on tidings and beside it on the bare relay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import generator
from bench.figures import Figures, Spread, figures, spreads
from bench.plan import Load, RunSizes
from bench.servers import Start


@dataclass(slots=True)
class Measured:
    """One load on one server, over all runs so far."""

    load: Load
    server: str
    reports: list[dict[str, Any]] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)

    def spreads(self) -> dict[str, Spread]:
        """Each figure over all runs."""
        return spreads(self.figures)

    def as_json(self) -> dict[str, Any]:
        """Everything that is known of it."""
        return {
            "load": self.load.name,
            "title": self.load.title,
            "unit": self.load.unit,
            "server": self.server,
            "targets": dict(self.load.targets) if self.server == "tidings" else {},
            "figures": {
                name: {"min": each.least, "median": each.median, "max": each.most}
                for name, each in self.spreads().items()
            },
            "runs": self.reports,
        }


def measure(
    loads: Sequence[Load], sizes: RunSizes, servers: dict[str, Start], before: Callable[[int, Load, str], None]
) -> list[Measured]:
    """Runs everything.

    Each measurement has a server of its own that has just started. All loads are run once before any is run again, and
    the servers take turns, so that a busy hour of the machine does not fall on one of them alone.

    Args:
        loads: What to measure.
        sizes: How much, how long, how often.
        servers: How to start each server, by name.
        before: Called before each measurement with the run's number, the load and the server's name.

    Raises:
        BenchError: A server did not start, or a load failed, lost or was refused a message.
    """
    all_measured = [Measured(load, name) for load in loads for name in servers if name != "relay" or load.ceiling]
    for number in range(1, sizes.runs + 1):
        for each in all_measured:
            before(number, each.load, each.server)
            with servers[each.server]() as server:
                report = generator.run(each.load, sizes, server)
            each.reports.append(report)
            each.figures.append(figures(each.load, report))
    return all_measured
