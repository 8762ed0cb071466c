"""The `tidings` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import typer
from rich.markup import escape

# Each is imported only when it is run: a server needs no terminal client, nor the client a server.
_COMMANDS = {
    "serve": "tidings_server.serve",
    "chat": "tidings_chat.cli",
    "replay": "tidings_replay.cli",
    "backup": "tidings_server.backup",
    "bench": "bench.cli",
    "simulate": "bench.simulation.cli",
    "cluster": "tidings_server.cluster.command",
    "push": "tidings_server.push_command",
}

# Modules that are not in every installation, and the extra that brings each.
_EXTRAS = {
    "textual": "chat",
    "tidings_client": "chat",
    "aetcd": "mesh",
    "cassandra": "mesh",
    "psutil": "mesh",
    "redis": "mesh",
}


def main() -> None:
    """Run the command that the arguments name."""
    app = typer.Typer(
        help="A chat backend whose clients hold one bidirectional gRPC stream.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    # Without a callback, typer would run a command that is the only one imported without its name.
    app.callback()(lambda: None)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        _add(app, name)
    try:
        app(prog_name="tidings", args=sys.argv[1:])
    except ModuleNotFoundError as error:
        typer.echo(f"tidings: {_remedy(error)}", err=True)
        sys.exit(1)


def _add(app: typer.Typer, name: str) -> None:
    """Add a command. One that cannot be imported here is listed as well, and says what it takes."""
    try:
        command = getattr(import_module(_COMMANDS[name]), name)
    except ModuleNotFoundError as error:
        whatever_follows = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        app.command(name, help=escape(_remedy(error)), context_settings=whatever_follows)(_raising(error))
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _raising(error: ModuleNotFoundError) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def _remedy(error: ModuleNotFoundError) -> str:
    """Say what to do about a module that is missing.

    Raises:
        ModuleNotFoundError: It is one that no extra brings, so that this is a fault of the program.
    """
    module = (error.name or "").partition(".")[0]
    if module == "bench":
        return "this command runs in the source tree only, after `make setup` there"
    if module in _EXTRAS:
        return f"{module} is missing: `pip install 'tidings[{_EXTRAS[module]}]'` brings it"
    raise error
