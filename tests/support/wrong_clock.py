"""A clock that is set while a process runs, by Debian's libfaketime: the process's alone, and not its monotonic one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_LIBRARIES = Path("/usr/lib")


class WrongClock:
    """The clock of the processes that are started by `program`. It is right at first.

    Args:
        file: A file of its own, which says how wrong the clock is.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds = 0.0
        self.show(0.0)

    def show(self, seconds: float) -> None:
        """Sets the clock: it is wrong by so much from now on; negative is behind."""
        self.seconds = seconds
        # In one step, as the process may read it at any moment.
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process that is to have this clock has in its environment."""
        (library,) = _LIBRARIES.glob("*/faketime/libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def program(self, program: Sequence[str | Path]) -> Sequence[str | Path]:
        """The command line of a program that is to have this clock."""
        return ("env", *(f"{name}={value}" for name, value in self.environment.items()), *program)
