"""An engine as a process: what all of them have in common, a folder, ports, starting, stopping and dying."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import psutil

from tidings_server.cluster.loopback import HOST, free_port, is_free
from tidings_server.cluster.process import Process

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 2.0
_ERROR = re.compile(r'^Exception \(|"level":"(error|fatal)"')
"""How Cassandra and etcd tell what stopped them, before they tell where; Redis says it in its last line."""


class EngineError(Exception):
    """An engine cannot be run; the message is one sentence for the operator."""


class Engine(ABC):
    """An engine on a folder, on loopback.

    The folder keeps its data, its `log` and `process.json` with its process and ports, by which a later command finds
    it again. An engine started again on its folder has the data and the ports that it had before.

    Args:
        folder: The folder, made when missing.
        ports: Ports by name; free ones are taken for those that are 0.
        detach: Whether it goes on when the process that starts it ends.
    """

    name: ClassVar[str]
    """What it is called in sentences."""
    start_seconds: ClassVar[float] = 30.0
    """It is given up when it does not answer by then."""
    stop_seconds: ClassVar[float] = 30.0
    """It is killed when it has not stopped by then."""

    def __init__(self, folder: Path, ports: dict[str, int], *, detach: bool = False) -> None:
        self.folder = folder.absolute()
        self._wanted = ports
        self._ports = dict(ports)
        self._detach = detach
        self._process: Process | None = None
        self._log_start = 0
        self._find()

    async def start(self) -> Self:
        """Start it, and wait until it answers.

        Raises:
            EngineError: It runs already, is not installed, finds a port taken, or does not start.
        """
        if self.running:
            raise EngineError(f"{self.name} runs already on {self.folder}, as process {self.pid}.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_ports()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = Process.spawn(
            self._command(), folder=self.folder, log=self.log, detach=self._detach, environment=self._environment()
        )
        self._note.write_text(
            json.dumps({"pid": self._process.pid, "started": self._process.started, "ports": self._ports})
        )
        try:
            async with asyncio.timeout(self.start_seconds):
                await self._answering(self._process)
        except TimeoutError:
            await self.kill()
            raise EngineError(
                f"{self.name} did not answer within {self.start_seconds:g} s: {self.log} may say why."
            ) from None
        except BaseException:
            await self.kill()
            raise
        return self

    async def stop(self) -> None:
        """Stop it gracefully, and wait until it has ended; a paused process goes on first."""
        process = self._process
        if process is None:
            return
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self.stop_seconds):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Send SIGKILL, which leaves it no time for anything, and wait until it has ended."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            await self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP pauses it, SIGCONT lets it go on."""
        if self._process is not None:
            self._process.signal(number)

    async def wait(self) -> None:
        """Wait until it has ended, for whatever reason."""
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int:
        """The id of its process; 0 before it was started."""
        return 0 if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.running

    @property
    def memory(self) -> int:
        """Resident memory, in bytes; 0 while it does not run."""
        return int(psutil.Process(self.pid).memory_info().rss) if self.running else 0

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        return self.folder / "log"

    @property
    @abstractmethod
    def address(self) -> str:
        """HOST:PORT for clients."""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments, once the files that they name are written."""

    def _environment(self) -> dict[str, str]:
        """Variables for its environment, besides those of this process."""
        return {}

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it serves clients yet; OSError and EOFError mean that it does not."""

    def _address(self, port: str) -> str:
        return f"{HOST}:{self._ports[port]}"

    @property
    def _note(self) -> Path:
        return self.folder / "process.json"

    def _find(self) -> None:
        """Find the process and the ports of an earlier start on this folder."""
        try:
            note = json.loads(self._note.read_text())
        except FileNotFoundError:
            return
        self._process = Process.find(note["pid"], note["started"])
        if self._process is not None:
            self._ports = note["ports"]
        else:
            self._ports = {name: port or note["ports"][name] for name, port in self._wanted.items()}

    def _take_ports(self) -> None:
        for name, port in self._ports.items():
            if port == 0:
                self._ports[name], claim = free_port()
                weakref.finalize(self, claim.close)
            elif not is_free(port):
                # It would find out by itself, but until then another server may answer in its place.
                raise EngineError(f"{self.name} cannot listen at port {port}: another process does.")

    async def _answering(self, process: Process) -> None:
        while True:
            if not process.running:
                raise EngineError(
                    f"{self.name} ended with code {process.exit_code} instead of starting: {self._last_words()}"
                )
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    if await self._answers():
                        return
            except (OSError, EOFError, TimeoutError):
                pass
            await asyncio.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        """The last line that names an error, or the last one at all, of what it printed since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        # What follows an exception is where it happened, in many lines.
        errors = [line for line in lines if _ERROR.search(line)]
        return (errors or lines or ["it printed nothing."])[-1]


def program(name: str, package: str) -> str:
    """The path of a program.

    Args:
        name: What it is called on PATH.
        package: The Debian package that has it.

    Raises:
        EngineError: It is not there.
    """
    if (path := shutil.which(name)) is None:
        raise EngineError(f"{name} is not on PATH: install Debian's {package}, or run scripts/install-engines.")
    return path
