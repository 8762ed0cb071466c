"""A process of the operating system, started here or by a command that has ended long ago."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil


class Process:
    """A process that may be signalled and waited for on any event loop.

    It is held by a pidfd, so that a signal never reaches another process that was given the same number later. A
    subprocess of asyncio would belong to the loop that started it; what lives for a whole test session may not.

    Attributes:
        pid: Its number.
        started: When it started, as the system tells it: with the number it names the process for ever.
    """

    def __init__(
        self, pid: int, started: float, child: subprocess.Popen[bytes] | None = None, *, detached: bool = True
    ) -> None:
        self.pid = pid
        self.started = started
        self._child = child
        self._detached = detached
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def spawn(
        cls, command: Sequence[str], *, folder: Path, log: Path, detach: bool, environment: Mapping[str, str]
    ) -> Self:
        """Start a process.

        It gets a session of its own, so that Ctrl-C in a terminal reaches only the process that started it, which ends
        all that it has started in the order that loses nothing.

        Args:
            command: The program and its arguments.
            folder: Its working folder.
            log: The file that its output is added to.
            detach: Whether it goes on when the process that starts it ends. Otherwise the kernel kills it once the
                thread that started it has ended, in whatever way.
            environment: Variables for its environment, besides those of this process.
        """
        setpriv = None if detach else shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        with log.open("ab") as output:
            child = subprocess.Popen(
                [*prefix, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        return cls(child.pid, psutil.Process(child.pid).create_time(), child, detached=detach)

    @classmethod
    def find(cls, pid: int, started: float) -> Self | None:
        """The process that another command started, or None once it has ended."""
        try:
            process = cls(pid, started)
            if psutil.Process(pid).create_time() == started and process.running:
                return process
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
        return None

    def __del__(self) -> None:
        # Absent when there was no such process.
        if (pidfd := self.__dict__.get("_pidfd")) is not None:
            os.close(pidfd)
            if self._detached and self._child is not None and self._child.returncode is None:
                # It is meant to go on, which subprocess would warn of.
                self._child.returncode = 0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs or when it was started elsewhere."""
        return None if self._child is None else self._child.poll()

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended gets none."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self) -> None:
        """Wait until it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # Of its own, since a loop follows a descriptor for one waiter only.
        watched = os.dup(self._pidfd)
        loop.add_reader(watched, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watched)
            os.close(watched)
        if self._child is not None:
            # It has ended: this only takes its exit code, so that no zombie is left.
            self._child.wait()
