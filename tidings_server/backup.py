"""`tidings backup`: a copy of a data folder, taken while the server runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from tidings.backends.sqlite.backup import copy_database
from tidings.backends.sqlite.database import DataFolderError

_KEY = "token-key.pem"


def backup(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="The copy, a data folder too; empty or not there yet.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="The data folder.")] = Path("tidings-data"),
) -> None:
    """Copy the data folder of a server, which may be running.

    The copy has everything that was accepted before it was begun. To restore it, stop the server, and let it serve (a
    copy of) the copy: `tidings serve --data DIR`.
    """
    try:
        copy_database(data, to)
        if (data / _KEY).exists():
            # The copy keeps its mode: nobody else may read it.
            shutil.copy2(data / _KEY, to / _KEY)
    except DataFolderError as error:
        typer.echo(f"tidings: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"tidings: {to / _KEY} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"the copy of {data} is {to}")
