"""The figures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import Spread, reached
from bench.growth import Growth
from bench.plan import RunSizes
from bench.run import Measured

_WIDTH = 130
"""Columns that the tables need: a narrower terminal wraps whole lines, which is easier to read than cut cells."""

_FIGURES = {
    "rate_per_s": "rate /s",
    "server_cpu_us": "server CPU us",
    "accept_p50_ms": "accept p50 ms",
    "accept_p99_ms": "accept p99 ms",
    "deliver_p50_ms": "deliver p50 ms",
    "deliver_p99_ms": "deliver p99 ms",
    "connect_p50_ms": "connect p50 ms",
    "connect_p99_ms": "connect p99 ms",
    "rss_kib": "RSS KiB",
    "catch_up_ms": "catch-up ms",
    "server_cores": "server cores",
    "client_cores": "client cores",
    "others_cores": "others' cores",
}
"""The figures' names for people: CPU for one of what the load counts, memory for one connection, and how many cores
each process and the rest of the machine kept busy."""

_MESSAGES = (
    "rate_per_s",
    "server_cpu_us",
    "accept_p50_ms",
    "accept_p99_ms",
    "deliver_p50_ms",
    "deliver_p99_ms",
    "server_cores",
    "client_cores",
    "others_cores",
)
_CONNECTIONS = (
    "rss_kib",
    "server_cpu_us",
    "connect_p50_ms",
    "connect_p99_ms",
    "catch_up_ms",
    "server_cores",
    "client_cores",
    "others_cores",
)


def show(console: Console, results: Sequence[Measured], sizes: RunSizes, machine: Mapping[str, Any]) -> None:
    """Prints the results: medians, and below them least and most where there was more than one run."""
    console.width = max(console.width, _WIDTH)
    flows = [each for each in results if each.load.kind in ("pairs", "group", "rate")]
    devices = [each for each in results if each not in flows]
    for title, rows, names in (("Messages", flows, _MESSAGES), ("Connections", devices, _CONNECTIONS)):
        if rows:
            console.print(_figures(title, rows, names, sizes))
    if any(_parts(each) for each in results):
        console.print(_split(results))
    if any(each.load.targets for each in results if each.server == "tidings"):
        console.print(_targets(results))
    console.print(about(machine))


def about(machine: Mapping[str, Any]) -> str:
    """What the figures have to be read with."""
    told = (
        f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}, grpcio {machine['grpcio']}; "
        f"data on {machine['file_system']}; load average at the start {machine['load_average']}."
    )
    if machine["file_system"] in ("tmpfs", "ramfs"):
        told += " The data folder is in memory: syncs cost nothing there, and would on a disk."
    return f"[dim]{told}[/dim]"


def of_growth(content: Growth) -> Table:
    """How a message's cost grows, also against the least of them."""
    table = _table("Growth", "with")
    for heading in ("server CPU us", "of the least"):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, found in content.items():
        least = min(each["message_us"] for each in found.values())
        for size, each in found.items():
            cost = each["message_us"]
            last = size == max(found)
            table.add_row(f"{size:,} {what}", _number(cost), f"{cost / least:.2f}", end_section=last)
    return table


def _split(results: Sequence[Measured]) -> Table:
    """What each process of a mesh costs, for one of what a load counts."""
    with_parts = [each for each in results if _parts(each)]
    table = Table(title="CPU us by process", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("process")
    for each in with_parts:
        table.add_column(f"{each.load.name}, a {each.load.unit}", justify="right")
    for name in sorted({name for each in with_parts for name in _parts(each)}):
        cells = [_parts(each).get(name) for each in with_parts]
        table.add_row(name, *("" if cell is None else f"{cell.median:.1f}" for cell in cells))
    return table


def _parts(measured: Measured) -> dict[str, Spread]:
    ending = " cpu_us"
    return {name.removesuffix(ending): each for name, each in measured.spreads().items() if name.endswith(ending)}


def _figures(title: str, results: Sequence[Measured], names: Sequence[str], sizes: RunSizes) -> Table:
    runs = "one run" if sizes.runs == 1 else f"median, least–most of {sizes.runs} runs"
    table = _table(f"{title} ({runs})", "load", "server")
    for name in names:
        # A word a line: the figures are narrower than their names.
        table.add_column(_FIGURES[name].replace(" ", "\n"), justify="right", vertical="top", no_wrap=True)
    for each in results:
        found = each.spreads()
        table.add_row(
            f"{each.load.name}\n[dim]a {each.load.unit}[/dim]",
            each.server,
            *(_cell(each, found, name) for name in names),
            end_section=_ends_section(each),
        )
    return table


def _targets(results: Sequence[Measured]) -> Table:
    table = _table("Targets (tidings, median)", "load", "figure")
    for heading in ("target", "measured"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for each in results:
        found = each.spreads()
        for name, target in each.load.targets.items() if each.server == "tidings" else ():
            median = found[name].median
            table.add_row(
                each.load.title,
                _FIGURES[name],
                f"{'≥' if name == 'rate_per_s' else '≤'} {_number(target)}",
                _number(median),
                "[green]reached[/green]" if reached(name, median, target) else "[red]missed[/red]",
            )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, min_width=len("pairs-batched"))
    return table


def _ends_section(each: Measured) -> bool:
    return each.server == "relay" or not each.load.ceiling


def _cell(each: Measured, found: Mapping[str, Spread], name: str) -> str:
    spread = found.get(name)
    if spread is None:
        return ""
    # How busy the cores were explains the other figures: its own spread would only take room.
    if len(each.figures) == 1 or name.endswith("_cores"):
        return _number(spread.median)
    return f"{_number(spread.median)}\n[dim]{_number(spread.least)}–{_number(spread.most)}[/dim]"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
