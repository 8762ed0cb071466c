"""Calling the load generator, a Go program beside this file: Python's own client would be the limit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from bench.plan import Load, RunSizes
from bench.servers import BenchError, ServerUnderTest

_PROGRAM = Path(__file__).resolve().parents[1] / ".build" / "bin" / "loadgen"
# What signing in, connecting and draining may take, besides the seconds asked for.
_PATIENCE_SECONDS = 300.0


def find() -> Path:
    """The program.

    Raises:
        BenchError: It has not been built.
    """
    if not _PROGRAM.exists():
        raise BenchError("the load generator is not built: `make bench` in tidings' source tree does that")
    return _PROGRAM


def run(load: Load, sizes: RunSizes, server: ServerUnderTest, *options: str) -> dict[str, Any]:
    """Puts a load on a server.

    Args:
        load: Which.
        sizes: How much of it, and how long.
        server: On which.
        *options: What else to tell the load generator.

    Returns:
        What it counted.

    Raises:
        BenchError: It failed, or a message was lost or refused.
    """
    command = [str(find()), f"-target={server.address}", f"-pid={server.pid}", *load.command(sizes), *options]
    if server.parts:
        command.append(f"-parts={','.join(f'{name}={pid}' for name, pid in server.parts.items())}")
    patience = _PATIENCE_SECONDS + sizes.warm_up_seconds + sizes.measured_seconds
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{load.name} on {server.name}: no end after {patience:.0f} s") from error
    if done.returncode != 0:
        raise BenchError(f"{load.name} on {server.name}: {done.stderr.strip().removeprefix('loadgen: ')}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
