"""What is drawn of the results: how a figure goes with the load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.chart import chart
from bench.plan import Load, group, idle, pairs, rate
from bench.run import Measured

_IN_FLIGHT = (1, 2, 4, 8, 16, 32)
_MEMBERS = (2, 10, 50, 100)
_RATES = (100, 500, 1_000, 2_000, 4_000, 8_000)
_CONNECTIONS = (250, 500, 1_000, 2_000, 5_000)


@dataclass(frozen=True, slots=True)
class Curve:
    """A chart of figures over several loads, with a line for each figure and each server."""

    file_name: str
    title: str
    x_name: str
    y_name: str
    figures: Mapping[str, str]
    """What is drawn: figures, by what they are called on the chart."""
    loads: Sequence[Load]
    x: Sequence[float] | str
    """Where each load stands, or the figure that tells."""

    def draw(self, results: Iterable[Measured]) -> str:
        """The chart, as SVG, of the results of its loads; the figures are medians."""
        at = {load.name: number for number, load in enumerate(self.loads)}
        lines: dict[str, list[tuple[float, float]]] = {}
        for each in sorted((each for each in results if each.load.name in at), key=lambda each: at[each.load.name]):
            found = each.spreads()
            x = found[self.x].median if isinstance(self.x, str) else self.x[at[each.load.name]]
            for called, figure in self.figures.items():
                lines.setdefault(f"{each.server} {called}".strip(), []).append((x, found[figure].median))
        return chart(self.title, self.x_name, self.y_name, lines)


CURVES = (
    Curve(
        "throughput.svg",
        "Pairs with 1 to 32 messages in flight each",
        "messages a second",
        "ms until delivered, median",
        {"": "deliver_p50_ms"},
        [pairs(each) for each in _IN_FLIGHT],
        "rate_per_s",
    ),
    Curve(
        "rates.svg",
        "At a fixed rate",
        "messages a second in all",
        "ms until delivered",
        {"p50": "deliver_p50_ms", "p99": "deliver_p99_ms"},
        [rate(each) for each in _RATES],
        _RATES,
    ),
    Curve(
        "group.svg",
        "A group with 8 messages in flight",
        "members",
        "CPU a delivery, us",
        {"": "server_cpu_us"},
        [group(each) for each in _MEMBERS],
        _MEMBERS,
    ),
    Curve(
        "memory.svg",
        "Idle connections",
        "connections",
        "resident memory, MiB",
        {"": "rss_mib"},
        [idle(each) for each in _CONNECTIONS],
        _CONNECTIONS,
    ),
)
"""All charts."""
