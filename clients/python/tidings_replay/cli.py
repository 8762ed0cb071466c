"""The command `tidings replay`: its options, output and exit code."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidings_replay.casting import Cast, cast, roles
from tidings_replay.errors import ReplayError
from tidings_replay.irc import read
from tidings_replay.own_server import own_server
from tidings_replay.report import Figures, count
from tidings_replay.run import ReplayResult
from tidings_replay.run import replay as run_replay

_ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def replay(
    file: Annotated[Path, typer.Argument(help="A channel's log, one `[HH:MM] <nick> text` a line.", metavar="FILE")],
    server: Annotated[
        str,
        typer.Option(
            help="The server to talk over; one of its own in a temporary folder by default.", metavar="HOST:PORT"
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")
    ] = False,
) -> None:
    """Let a real conversation happen again, with broken connections, and check that every device has all of it.

    The exit code is 0 only when nothing was lost, doubled or out of order, and every device agrees with the log.
    """
    # With --json, stdout is for programs alone.
    console = Console(stderr=as_json, highlight=False)
    try:
        conversation = cast(read(file))
        _introduce(conversation, console)
        result = asyncio.run(_replay(conversation, server, file.name, console))
    except ReplayError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"tidings replay: {error}", markup=False)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(_ENDED_BY_SIGTERM) from None
    for refusal in result.refusals[:1]:
        console.print(f"{len(result.refusals):,} lines were refused, the first: {refusal}", markup=False)
    figures = count(result.evidence)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(figures)))
    else:
        console.print(table(figures))
    raise typer.Exit(exit_code(figures))


def exit_code(figures: Figures) -> int:
    """Gives 0 when every promise was kept, else 1."""
    return 0 if figures.is_flawless else 1


def table(figures: Figures) -> Table:
    """Makes the table of the figures."""
    made = Table(show_header=False, title="flawless" if figures.is_flawless else "not flawless")
    made.add_column()
    made.add_column(justify="right")
    for name, value in dataclasses.asdict(figures).items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"
        made.add_row(name.replace("_", " "), shown)
    return made


def _introduce(conversation: Cast, console: Console) -> None:
    parts = roles(len(conversation.speakers))
    console.print(
        f"{len(conversation.script):,} lines by {len(conversation.speakers):,} people on {len(parts):,} devices,"
        f" of which {sum(part.drops_out for part in parts):,} drop out again and again."
    )
    if conversation.left_out_lines:
        console.print(
            f"{conversation.left_out_lines:,} lines by {conversation.left_out_speakers:,} other people are left out:"
            f" a group holds {len(conversation.speakers):,}."
        )


async def _replay(conversation: Cast, server: str, title: str, console: Console) -> ReplayResult:
    task = asyncio.current_task()
    if task is not None:
        # So that the replay's own server is ended too.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-replay-")))
        address = server
        if not address:
            address = await stack.enter_async_context(own_server(folder))
            console.print(f"A server for it listens on {address}.")
        bars = stack.enter_context(_Bars(console))
        return await run_replay(conversation, address, f"Replay of {title}", folder, bars.show)


class _Bars:
    """Shows a progress bar for each step of the replay.

    Args:
        console: Where the bars are shown.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Moves the bar of the step `what`."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)
