"""The replay's own server: a child process with its data in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tidings_replay.errors import ReplayError

SERVE = (sys.executable, "-m", "tidings_server", "serve")
"""The command that runs a server."""
_READY = "listening on "
_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0


@contextlib.asynccontextmanager
async def own_server(folder: Path, command: Sequence[str] = SERVE) -> AsyncIterator[str]:
    """Runs a server for the length of an ``async with`` block, and gives its HOST:PORT once it listens.

    Args:
        folder: The folder for its data and its log.
        command: The command to run; `--listen` and `--data` are appended.

    Raises:
        ReplayError: The server does not start.
    """
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(folder / "data"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # Ctrl-C reaches the replay alone, which then ends the server.
            start_new_session=True,
        )
    try:
        if process.stdout is None:
            raise TypeError("standard output is a pipe")
        address = await _address(process.stdout, log)
        draining = asyncio.create_task(_drain(process.stdout))
        try:
            yield address
        finally:
            draining.cancel()
    finally:
        await _end(process)


async def _address(output: asyncio.StreamReader, log: Path) -> str:
    try:
        async with asyncio.timeout(_READY_SECONDS):
            async for line in output:
                said = line.decode(errors="replace").strip()
                if said.startswith(_READY):
                    return said.removeprefix(_READY)
    except TimeoutError:
        raise ReplayError(f"the replay's own server was not ready within {_READY_SECONDS:.0f} s") from None
    raise ReplayError(f"the replay's own server did not start: {_last_words(log)}")


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


async def _drain(output: asyncio.StreamReader) -> None:
    """Reads what else the server prints, so that it never waits for a reader."""
    while await output.read(1 << 16):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
