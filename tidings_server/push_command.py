"""`tidings push`: an operator looks after pushes, also while the server runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.web_push_encryption import encoded, point
from tidings.backends.sqlite.database import Database, DataFolderError
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.clock import SystemClock
from tidings.core.errors import Refusal
from tidings.core.ports import DeadLetter, PushQueue
from tidings_server.keys import write_private_key
from tidings_server.notifier import p256_key
from tidings_server.settings import Settings, SettingsError, load

push = typer.Typer(help="Look after pushes.", no_args_is_help=True)
dead_letters = typer.Typer(help="Pushes that were given up.", no_args_is_help=True)
push.add_typer(dead_letters, name="dead-letters")

# With more dead letters than these, putting back or dropping all of them takes the command more than once.
_MOST = 100_000

Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The server's settings, in TOML.")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")]
Backend = Annotated[str | None, typer.Option(metavar="NAME", help="embedded (on SQLite) or mesh.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Which ones, by the ids that the list shows.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@dataclass(frozen=True, slots=True)
class _QueueOptions:
    config: Path | None
    data: Path | None
    backend: str | None


@dead_letters.command("list")
def list_(
    config: Config = None,
    data: Data = None,
    backend: Backend = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the pushes that were given up, the latest first. Texts are not shown."""

    async def work(queue: PushQueue) -> None:
        letters = await queue.dead_letters(limit)
        if as_json:
            for letter in letters:
                typer.echo(json.dumps(_described(letter)))
        else:
            _show(letters, (await queue.depth()).dead)

    _run(_QueueOptions(config, data, backend), work)


@dead_letters.command("replay")
def requeue(
    ids: Ids = None, every: All = False, config: Config = None, data: Data = None, backend: Backend = None
) -> None:
    """Put some back into the queue, as if they were new; a running server sends them within ten seconds."""
    clock = SystemClock()
    _each(
        _QueueOptions(config, data, backend),
        ids,
        every,
        "replayed",
        lambda queue, id_: queue.requeue(id_, clock.now_ms()),
    )


@dead_letters.command()
def drop(
    ids: Ids = None, every: All = False, config: Config = None, data: Data = None, backend: Backend = None
) -> None:
    """Delete some for good."""
    _each(_QueueOptions(config, data, backend), ids, every, "dropped", lambda queue, id_: queue.drop(id_))


@push.command()
def vapid_key(file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key, in PEM.")]) -> None:
    """Make a key for Web Push unless the file is there, and print its public key, which browsers subscribe with."""
    try:
        if not file.exists():
            write_private_key(file, ec.generate_private_key(ec.SECP256R1()))
        typer.echo(encoded(point(p256_key(file, "the key").public_key())))
    except (SettingsError, OSError) as error:
        _fail(str(error))


def _each(
    options: _QueueOptions,
    ids: Sequence[int] | None,
    every: bool,
    done: str,
    do: Callable[[PushQueue, int], Awaitable[bool]],
) -> None:
    if every == bool(ids):
        _fail("name some ids, or --all")

    async def work(queue: PushQueue) -> None:
        chosen = [each.push_id for each in await queue.dead_letters(_MOST)] if every else list(ids or ())
        missing = [each for each in chosen if not await do(queue, each)]
        typer.echo(f"{done}: {len(chosen) - len(missing)}")
        if missing and not every:
            _fail(f"no dead letter {', '.join(map(str, missing))}")

    _run(options, work)


def _run(options: _QueueOptions, work: Callable[[PushQueue], Awaitable[None]]) -> None:
    given = {"data": options.data, "backend": options.backend}

    async def run() -> None:
        settings = load(options.config, **{name: value for name, value in given.items() if value is not None})
        async with _queue(settings) as queue:
            await work(queue)

    try:
        asyncio.run(run())
    except (SettingsError, DataFolderError, Refusal) as error:
        _fail(str(error))


@asynccontextmanager
async def _queue(settings: Settings) -> AsyncIterator[PushQueue]:
    """Open the queue, beside a running server: both engines take several processes at a time."""
    if settings.backend == "mesh":
        # Not imported before: the engines' drivers come with the extra `mesh`.
        from tidings.backends.redis.pipeline import AutoPipeline  # noqa: PLC0415
        from tidings.backends.redis.push_queue import RedisPushQueue  # noqa: PLC0415

        pipeline = AutoPipeline(settings.mesh.push_redis)
        try:
            yield RedisPushQueue(pipeline, f"{settings.mesh.prefix}:")
        finally:
            await pipeline.close()
    else:
        database = Database(settings.data, beside=True)
        try:
            yield SqlitePushQueue(database)
        finally:
            await database.close()


def _described(letter: DeadLetter) -> dict[str, Any]:
    request = letter.push.request
    return {
        "id": letter.push_id,
        "died_at": datetime.fromtimestamp(letter.died_at_ms / 1000, UTC).isoformat(timespec="seconds"),
        "provider": letter.push.provider.name,
        "reason": letter.error,
        "attempts": letter.attempts,
        "user_id": request.user_id,
        "device_id": letter.push.device_id,
        "channel_id": request.channel_id,
        "seq": request.seq,
    }


def _show(letters: Sequence[DeadLetter], dead: int) -> None:
    table = Table("id", "given up", "provider", "reason", "attempts", "user", "device", "channel", "message")
    for letter in letters:
        # As texts, for a provider's reason may look like markup, and without what a terminal would obey.
        table.add_row(*(Text(_printable(str(value))) for value in _described(letter).values()))
    console = Console()
    console.print(table)
    console.print(f"{len(letters)} of {dead}", highlight=False)


def _fail(message: str) -> None:
    typer.echo(f"tidings: {_printable(message)}", err=True)
    raise typer.Exit(1)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)
