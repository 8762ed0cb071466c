"""Programs that tests start as processes of their own, above all a real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

THIS_TREE = (sys.executable, "-m", "tidings_server")
"""The command `tidings`, as this tree has it."""
_START_SECONDS = 30.0


async def start_tidings(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = THIS_TREE,
) -> asyncio.subprocess.Process:
    """Starts `tidings`, which signals end as they do in a terminal, with its output in pipes.

    A child inherits what its parent ignores. Where the tests run under nohup or as a shell's background job, SIGHUP or
    SIGINT would do nothing to it, so `env` gives every signal its default effect first.

    Args:
        arguments: The command line, without the program's name.
        environment: What its environment has beside the tests' own.
        program: Another `tidings` than that of this tree.
    """
    # By its path, since the environment may have a PATH that leads nowhere.
    env = shutil.which("env")
    assert env is not None
    return await asyncio.create_subprocess_exec(
        *(env, "--default-signal", *program),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


@dataclass(frozen=True)
class Completed:
    """How a program ended, and what it printed."""

    code: int
    out: str
    err: str


async def run_tidings(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Completed:
    """Runs `tidings` to its end; the arguments are those of `start_tidings`."""
    process = await start_tidings(*arguments, environment=environment)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Completed(process.returncode, out.decode(), err.decode())


class ServerProcess:
    """`tidings serve` on a data folder, on a free port of loopback and from this tree unless told otherwise."""

    def __init__(
        self,
        data: Path,
        *,
        config: str = "",
        listen: str = "127.0.0.1:0",
        program: Sequence[str | Path] = THIS_TREE,
    ) -> None:
        self.data = data
        self.listen = listen
        self.endpoint = ""
        self._config = config
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[bytes] | None = None

    async def start(self) -> Self:
        """Starts it, and waits until clients can connect. Started again, it listens where it did before."""
        self.data.mkdir(parents=True, exist_ok=True)
        config = self.data.with_suffix(".toml")
        config.write_text(self._config)
        arguments = [
            "serve",
            "--listen",
            self.endpoint or self.listen,
            "--data",
            str(self.data),
            "--config",
            str(config),
        ]
        self._process = await start_tidings(*arguments, program=self._program)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._errors = asyncio.create_task(self._process.stderr.read())
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = (await self._process.stdout.readline()).decode()
                if not line.startswith("listening on "):
                    await self._process.wait()
                    raise AssertionError(f"the server did not start: {(await self._errors).decode()}")
        except TimeoutError:
            await self.kill()
            raise
        self.endpoint = line.removeprefix("listening on ").strip()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def rss(self) -> int:
        """Resident memory, in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL: nothing in it gets to run any more."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> tuple[int, str]:
        """SIGTERM: it stops gracefully. Gives the exit code and what it logged."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> tuple[int, str]:
        assert self._process is not None and self._errors is not None
        if self._process.returncode is None:
            self.signal(number)
        code = await self._process.wait()
        return code, (await self._errors).decode()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
