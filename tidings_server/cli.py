"""The `tidings` command."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

# Imported when it is asked for: a server needs no terminal client, and the other way round.
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


def main() -> None:
    """Runs the command that the arguments name."""
    app = typer.Typer(
        help="A chat backend whose clients hold one bidirectional gRPC stream.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    # Without it, a command that is the only one imported would not be asked for by its name.
    app.callback()(lambda: None)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        command = getattr(import_module(_COMMANDS[name]), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    app(prog_name="tidings", args=sys.argv[1:])
