"""The `tidings` command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidings.backends.sqlite.database import DataFolderError
from tidings.node.serve import serve as run_server
from tidings.node.settings import SettingsError, load
from tidings.rpc.listener import ListenError
from tidings_replay.cli import replay

app = typer.Typer(
    help="A chat backend whose clients hold one bidirectional gRPC stream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _tidings() -> None:
    """Keeps `serve` a command of its own."""


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data folder.")] = None,
    services: Annotated[
        str | None, typer.Option(metavar="LIST", help="What to serve, by commas: chat, api, presence, discovery.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings, in TOML.")] = None,
) -> None:
    """Runs the server until it is told to stop (SIGTERM or Ctrl-C)."""
    given = {"listen": listen, "data": data, "services": services}
    try:
        settings = load(config, **{name: value for name, value in given.items() if value is not None})
        asyncio.run(run_server(settings))
    except (SettingsError, DataFolderError, ListenError) as error:
        typer.echo(f"tidings: {error}", err=True)
        raise typer.Exit(1) from None


app.command()(replay)


def main() -> None:
    """Runs the command that the arguments name."""
    app(prog_name="tidings", args=sys.argv[1:])
