"""`tidings serve`: runs a server until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import resource
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tidings.backends.sqlite.database import DataFolderError
from tidings.core.clock import SystemClock
from tidings.rpc.server import ListenError
from tidings_server.embedded import EmbeddedEngines, EmbeddedServices
from tidings_server.node import Node
from tidings_server.settings import SERVICES, Settings, SettingsError, load
from tidings_server.watchdog import ServiceManager

_log = logging.getLogger(__name__)

# Beside the connections of clients: databases, engines, other servers, providers.
_OTHER_FILES = 500


def serve(
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data folder.")] = None,
    services: Annotated[
        str | None, typer.Option(metavar="LIST", help=f"What to serve, by commas: {', '.join(SERVICES)}.")
    ] = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="embedded (on SQLite) or mesh.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings, in TOML.")] = None,
) -> None:
    """Run the server until it is told to stop (SIGTERM or Ctrl-C)."""
    given = {"listen": listen, "data": data, "services": services, "backend": backend}
    try:
        settings = load(config, **{name: value for name, value in given.items() if value is not None})
        # 5 % less CPU a message than with asyncio's own loop.
        uvloop.run(_serve(settings))
    except (SettingsError, DataFolderError, ListenError) as error:
        typer.echo(f"tidings: {error}", err=True)
        raise typer.Exit(1) from None


async def _serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. Print where it listens once clients can connect."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    files = raise_file_limit()
    manager = ServiceManager()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    node = await _open_node(settings)
    try:
        endpoint = await node.start()
        spare_collector()
        print(f"listening on {endpoint}", flush=True)
        say_if_too_few(files, settings.capacity)
        manager.tell("READY=1")
        watching = asyncio.ensure_future(manager.watch(node.listeners))
        failure = asyncio.ensure_future(node.wait())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({failure, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        _log.info("stopping")
        manager.tell("STOPPING=1")
        await node.drain()
        watching.cancel()
        if failure.done():
            failure.result()
        failure.cancel()
    finally:
        await node.close()


async def _open_node(settings: Settings) -> Node:
    """Connect to the engines of the backend that is set, and put its services together."""
    clock = SystemClock()
    if settings.backend == "mesh":
        # Not imported before: the engines' drivers come with the extra `mesh`.
        from tidings_server.mesh.engines import MeshEngines  # noqa: PLC0415
        from tidings_server.mesh.services import MeshServices  # noqa: PLC0415

        return await Node.open(settings, await MeshEngines.open(settings, clock), MeshServices, clock)
    return await Node.open(settings, await EmbeddedEngines.open(settings, clock), EmbeddedServices, clock)


def raise_file_limit() -> float:
    """Let the process open as many files as it may: each client takes one.

    Returns:
        How many that are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            _log.warning("the limit of open files cannot be raised to %s: %s", hard, error)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def say_if_too_few(files: float, capacity: int) -> None:
    """Warn the operator when the files that may be open are not enough for `capacity` clients."""
    needed = capacity + _OTHER_FILES
    if files < needed:
        _log.warning(
            "this process may open %d files, and capacity = %d needs %d: raise the limit (LimitNOFILE, ulimit -Hn), or "
            "lower capacity",
            files,
            capacity,
            needed,
        )


def spare_collector() -> None:
    """Make the garbage collector look at fewer objects, and less often: 5 % less CPU a message between busy pairs."""
    gc.collect()
    # The objects there are by now live as long as the process.
    gc.freeze()
    # A message makes dozens of objects and hardly a cycle: the default of 700 collects every few messages.
    gc.set_threshold(20_000, 20, 20)
