"""From what the load generator counted to the figures that people compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.plan import Load

Report = Mapping[str, Any]
"""What the load generator wrote: counts, seconds and milliseconds."""
Figures = dict[str, float]

_COUNTED = {"message": "accepted", "delivery": "delivered", "connect": "connects"}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    least: float
    median: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return Spread(min(values), statistics.median(values), max(values))


def figures(load: Load, report: Report) -> Figures:
    """The figures of one run.

    Returns:
        Those that the load gives, of: ``rate_per_s``, ``server_cpu_us`` and ``client_cpu_us`` (user and system, for
        each of the load's units), ``accept_``, ``deliver_`` and ``connect_`` with ``p50_ms`` and ``p99_ms``,
        ``rss_kib`` (what one connection adds), ``rss_mib`` (of the whole server), ``catch_up_ms``, and how many cores
        were busy meanwhile: ``server_cores``, ``client_cores``, ``others_cores``.
    """
    seconds = report["seconds"]
    found = {f"{who}_cores": report[f"{who}_cpu_s"] / seconds for who in ("server", "client", "others")}
    if load.kind == "idle":
        found["rss_kib"] = (report["rss_after_kib"] - report["rss_before_kib"]) / report["connections"]
        found["rss_mib"] = report["rss_after_kib"] / 1_024
    counted = _COUNTED.get(load.unit)
    if counted is not None and report[counted]:
        found["rate_per_s"] = report[counted] / seconds
        for who in ("server", "client"):
            found[f"{who}_cpu_us"] = report[f"{who}_cpu_s"] * 1e6 / report[counted]
        for part, seconds_used in report.get("parts_cpu_s", {}).items():
            found[f"{part} cpu_us"] = seconds_used * 1e6 / report[counted]
    for what in ("accept", "deliver", "connect"):
        latency = report[f"{what}_ms"]
        if latency is not None:
            found |= {f"{what}_{rank}_ms": latency[rank] for rank in ("p50", "p99")}
    if "catch_up_ms" in report:
        found["catch_up_ms"] = report["catch_up_ms"]
    return found


def spreads(runs: Iterable[Figures]) -> dict[str, Spread]:
    """Each figure over all runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            values.setdefault(name, []).append(value)
    return {name: Spread.of(each) for name, each in values.items()}


def reached(name: str, value: float, target: float) -> bool:
    """Whether a figure is as good as it is to be: a rate at least, anything else at most."""
    return value >= target if name == "rate_per_s" else value <= target
