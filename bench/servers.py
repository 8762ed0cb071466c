"""The servers under load, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tidings_server.cluster.cluster import Cluster, Sizes
from tidings_server.cluster.engine import EngineError

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_READY = "listening on "

# Nothing is switched off: the limits are checked as ever, but a bench comes from one address, and signs thousands in.
_CONFIG = """\
[rates.commands]
per_second = 1e9
burst = 1e9

[rates.calls]
per_second = 1e9
burst = 1e9

[rates.calls_by_address]
per_second = 1e9
burst = 1e9

[rates.direct_channels]
per_second = 1e9
burst = 1e9

[rates.added_members]
per_second = 1e9
burst = 1e9

[rates.sign_ups]
per_second = 1e9
burst = 1e9

[passwords]
memory_kib = 8
iterations = 1
"""


class BenchError(Exception):
    """Something stands in the way of measuring; the message is for people."""


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A running server."""

    name: str
    address: str
    """HOST:PORT, without TLS."""
    pid: int
    parts: Mapping[str, int] = field(default_factory=dict)
    """By name: the processes that it consists of, when it is more than one."""


Start = Callable[[], AbstractContextManager[ServerUnderTest]]


def tidings(scratch: Path | None = None) -> AbstractContextManager[ServerUnderTest]:
    """A tidings server on a new data folder, which is gone afterwards.

    Args:
        scratch: Where to make the data folder; the system's place for such things when None.
    """
    return _tidings(scratch)


@contextlib.contextmanager
def _tidings(scratch: Path | None) -> Iterator[ServerUnderTest]:
    with tempfile.TemporaryDirectory(prefix="tidings-bench-", dir=scratch) as name:
        folder = Path(name)
        config = folder / "bench.toml"
        config.write_text(_CONFIG)
        arguments = ["--listen", "127.0.0.1:0", "--data", str(folder / "data"), "--config", str(config)]
        with _running("tidings", ["tidings_server", "serve", *arguments], folder) as server:
            yield server


@contextlib.contextmanager
def relay() -> Iterator[ServerUnderTest]:
    """The bare relay."""
    with (
        tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder,
        _running("relay", ["bench.relay", "--listen", "127.0.0.1:0"], Path(folder)) as server,
    ):
        yield server


def mesh(scratch: Path | None = None) -> AbstractContextManager[ServerUnderTest]:
    """A mesh of several servers on the real engines, whose folder is gone afterwards.

    Args:
        scratch: Where to make the folder; the system's place for such things when None.
    """
    return _mesh(scratch)


@contextlib.contextmanager
def _mesh(scratch: Path | None) -> Iterator[ServerUnderTest]:
    with tempfile.TemporaryDirectory(prefix="tidings-bench-", dir=scratch) as name:
        cluster = Cluster(Path(name), Sizes(chat=2, presence=1, api=1), settings=tomllib.loads(_CONFIG))
        try:
            asyncio.run(cluster.start())
            parts = {each: server.pid for each, server in cluster.servers.items()}
            parts |= {"etcd": cluster.etcd.pid, "redis": cluster.redis.pid, "cassandra": cluster.cassandra.pid}
            yield ServerUnderTest("mesh", cluster.endpoint, 0, parts)
        except EngineError as error:
            raise BenchError(str(error)) from error
        finally:
            asyncio.run(cluster.stop())


@contextlib.contextmanager
def _running(name: str, module: list[str], folder: Path) -> Iterator[ServerUnderTest]:
    log = folder / "log"
    # What the operator of this machine has set for servers is not what is to be measured.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TIDINGS_")}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
        )
    assert process.stdout is not None
    try:
        patience = threading.Timer(_START_SECONDS, process.kill)
        patience.start()
        line = process.stdout.readline()
        patience.cancel()
        if not line.startswith(_READY):
            process.kill()
            raise BenchError(f"the {name} server did not start:\n{_end_of(log)}")
        try:
            yield ServerUnderTest(name, line.removeprefix(_READY).strip(), process.pid)
        except BenchError as error:
            # The server may know more about it, and its log goes with the folder.
            raise BenchError(f"{error}\nThe end of the {name} server's log:\n{_end_of(log)}") from error
        if process.poll() is not None:
            raise BenchError(f"the {name} server ended under load ({process.returncode}):\n{_end_of(log)}")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])
