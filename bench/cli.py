"""`tidings bench`."""

from __future__ import annotations

import dataclasses
import json
import resource
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import generator, growth, machine, table
from bench.curves import CURVES
from bench.plan import LOADS, QUICK, Load, RunSizes
from bench.run import measure
from bench.servers import BenchError, Start, mesh, relay, tidings

T = TypeVar("T")

# A load of a curve may be one of those with targets: that one counts.
_LOADS = {load.name: load for load in (*(load for curve in CURVES for load in curve.loads), *LOADS)}
_NAMES = ", ".join(_LOADS)
_MESH_LOADS = "pairs,pairs-x32,group-100,group-100x32,rate"
"""What a mesh is measured with unless told otherwise."""


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="One short run of each: roughly how fast.")] = False,
    loads: Annotated[str | None, typer.Option(metavar="LIST", help=f"Which, by commas, of: {_NAMES}.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="How often each load is run; 3 unless quick.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write a JSON object.")] = None,
    charts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also measure what the charts need, and draw them there.")
    ] = None,
    in_growth: Annotated[
        bool, typer.Option("--growth", help="Measure how a message's cost grows with what a server holds.")
    ] = False,
    scratch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data folders are made; on the disk to measure.")
    ] = None,
    in_mesh: Annotated[
        bool, typer.Option("--mesh", help="Measure a mesh on the real engines, and what each part of it costs.")
    ] = False,
    ceiling: Annotated[bool, typer.Option(help="Measure the bare relay as well.")] = True,
) -> None:
    """Measures how fast a tidings server is on this machine, and a bare relay beside it.

    Every measurement starts a server of its own on an empty data folder. Rate limits are raised and password hashing is
    made cheap; storage is synced and every check is on.
    """
    if in_growth and (loads is not None or in_mesh):
        raise typer.BadParameter("goes with neither --loads nor --mesh", param_hint="--growth")
    _prepare(charts, json_file)
    sizes = QUICK if quick else RunSizes()
    if runs is not None:
        sizes = dataclasses.replace(sizes, runs=runs)
    console = Console()
    # Before the load that this makes itself.
    about = machine.describe(scratch or Path(tempfile.gettempdir()))
    if in_growth:
        found = _measure(lambda: growth.measure(sizes, scratch, lambda what: console.print(f"with more {what}")))
        console.print(table.of_growth(found), table.about(about))
        _write(charts, growth.charts(found), json_file, {"machine": about, **found})
        return
    chosen = _choose(loads or (_MESH_LOADS if in_mesh else None))
    if charts is not None:
        known = {load.name for load in chosen}
        chosen += {load.name: load for curve in CURVES for load in curve.loads if load.name not in known}.values()
    servers: dict[str, Start] = {"mesh": lambda: mesh(scratch)} if in_mesh else {"tidings": lambda: tidings(scratch)}
    if ceiling:
        servers["relay"] = relay
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        total = sizes.runs * sum(1 for load in chosen for name in servers if name != "relay" or load.ceiling)
        task = progress.add_task("", total=total, completed=-1)

        def before(run: int, load: Load, server: str) -> None:
            progress.update(task, advance=1, description=f"run {run}: {load.name} on {server}")

        results = _measure(lambda: measure(chosen, sizes, servers, before))
    table.show(console, results, sizes, about)
    drawn = {curve.file_name: curve.draw(results) for curve in CURVES} if charts is not None else {}
    content = {"sizes": dataclasses.asdict(sizes), "results": [each.as_json() for each in results]}
    _write(charts, drawn, json_file, {"machine": about, **content})


def _prepare(folder: Path | None, json_file: Path | None) -> None:
    # Before a measurement of half an hour, not after it.
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        if json_file is not None:
            json_file.open("a").close()
    except OSError as error:
        typer.echo(f"tidings bench: {error.filename} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def _measure(measure: Callable[[], T]) -> T:
    # Each connection is a file for the server too, and it inherits the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        generator.find()
        return measure()
    except BenchError as error:
        typer.echo(f"tidings bench: {error}", err=True)
        raise typer.Exit(1) from None


def _write(folder: Path | None, charts: Mapping[str, str], json_file: Path | None, content: Mapping[str, Any]) -> None:
    if folder is not None:
        for name, chart in charts.items():
            (folder / name).write_text(chart)
    if json_file is not None:
        json_file.write_text(json.dumps(content, indent=2) + "\n")


def _choose(names: str | None) -> list[Load]:
    if names is None:
        return list(LOADS)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in _LOADS:
            raise typer.BadParameter(f"there is no load {name}; there are {_NAMES}", param_hint="--loads")
    return [_LOADS[name] for name in wanted]
