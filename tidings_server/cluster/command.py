"""`tidings cluster`: a mesh on this machine, to try and to test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.core.errors import Refusal
from tidings.core.values import Server, ServerKind
from tidings_server.cluster.cluster import Cluster, Sizes
from tidings_server.cluster.engine import EngineError
from tidings_server.settings import SettingsError

cluster = typer.Typer(help="Run a whole mesh on this machine.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept.")]
_DATA = Path("tidings-cluster")
_console = Console()


@cluster.command()
def up(
    chat_servers: Annotated[int | None, typer.Option(min=1, help="How many chat servers; 3 at first.")] = None,
    presence_servers: Annotated[int | None, typer.Option(min=1, help="How many presence servers; 2 at first.")] = None,
    api_servers: Annotated[int | None, typer.Option(min=1, help="How many api servers; 2 at first.")] = None,
    data: Data = _DATA,
) -> None:
    """Start etcd, Redis, Cassandra and the servers, which run until `down`; as many as before, unless told."""
    _run(lambda: _up(_resized(data, chat_servers, presence_servers, api_servers)))


@cluster.command()
def status(data: Data = _DATA) -> None:
    """Show what runs, where, and how busy it is."""
    _run(lambda: _status(Cluster(data)))


@cluster.command()
def down(data: Data = _DATA) -> None:
    """Stop everything; nothing is lost."""
    _run(lambda: _down(Cluster(data)))


def _resized(data: Path, chat: int | None, presence: int | None, api: int | None) -> Cluster:
    before = Cluster(data).sizes
    return Cluster(data, Sizes(chat or before.chat, presence or before.presence, api or before.api), detach=True)


async def _up(mesh: Cluster) -> None:
    with _console.status("starting etcd, Redis, Cassandra and the servers"):
        await mesh.start()
    for name, server in mesh.servers.items():
        _console.print(f"{name:12} {server.address}", highlight=False)
    _console.print(f"clients sign in at {mesh.endpoint}", highlight=False)


async def _down(mesh: Cluster) -> None:
    if not any(each.running for each in (*mesh.engines, *mesh.servers.values())):
        raise EngineError(f"nothing runs in {mesh.folder}.")
    with _console.status("stopping"):
        await mesh.stop()
    _console.print("stopped")


async def _status(mesh: Cluster) -> None:
    """Print the engines and the servers: what the system tells of the processes, and etcd of the servers."""
    engines = Table("engine", "address", "process", "MiB")
    for engine in mesh.engines:
        if engine.running:
            engines.add_row(engine.name, engine.address, str(engine.pid), f"{engine.memory / 2**20:.0f}")
        else:
            engines.add_row(engine.name, "does not run", "", "")
    _console.print(engines)
    known = {server.endpoint: server for server in await _registered(mesh)} if mesh.etcd.running else {}
    servers = Table("server", "address", "region", "load", "channels", "state", "process", "MiB")
    for name, process in mesh.servers.items():
        if not process.running:
            servers.add_row(name, "", "", "", "", "does not run", "", "")
            continue
        server = known.get(process.address)
        servers.add_row(
            name,
            process.address,
            server.region if server else "",
            f"{server.load:.1%}" if server else "",
            str(server.channels) if server and server.kind is ServerKind.CHAT else "",
            "not registered" if server is None else "draining" if server.draining else "live",
            str(process.pid),
            f"{process.memory / 2**20:.0f}",
        )
    _console.print(servers)


async def _registered(mesh: Cluster) -> list[Server]:
    etcd = EtcdClient([mesh.etcd.address])
    registry = EtcdRegistry(etcd)
    try:
        await registry.start()
        return [server for kind in ServerKind for server in registry.servers(kind)]
    finally:
        await registry.close()
        await etcd.close()


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        asyncio.run(work())
    except (EngineError, SettingsError, Refusal) as error:
        typer.echo(f"tidings cluster: {error}", err=True)
        raise typer.Exit(1) from None
