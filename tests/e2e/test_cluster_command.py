"""`tidings cluster` as a person runs it: a mesh comes up, shows itself, goes down, and comes up with all it had."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Completed, run_tidings
from tests.support.raw import PASSWORD
from tidings_client import Tidings

_SMALL = ("--chat-servers", "1", "--presence-servers", "1", "--api-servers", "1")


async def tidings_cluster(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Completed:
    # Its tables are as wide as the terminal.
    return await run_tidings("cluster", *arguments, environment={"COLUMNS": "200", **(environment or {})})


def processes_of(data: Path) -> list[psutil.Process]:
    """What runs in a folder; a process that is about to end may have no command line any more."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(data) in argument for argument in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A folder in which nothing is left running."""
    folder = tmp_path / "mesh"
    yield folder
    for process in processes_of(folder):
        process.kill()


def row(table: str, name: str) -> list[str]:
    """The cells of the line that begins with a name."""
    line = next(line for line in table.splitlines() if re.match(rf"\W*{name} ", line))
    return [cell.strip() for cell in re.split(r"[│┃]", line) if cell.strip()]


async def test_a_mesh_comes_up_and_goes_down_and_loses_nothing(data: Path, tmp_path: Path) -> None:
    up = await tidings_cluster("up", *_SMALL, "--data", data)
    assert up.code == 0, up.err
    endpoint = up.out.splitlines()[-1].removeprefix("clients sign in at ")
    async with (
        await Tidings.sign_up(endpoint, "ann", PASSWORD, data=tmp_path / "ann") as ann,
        await Tidings.sign_up(endpoint, "bob", PASSWORD, data=tmp_path / "bob") as bob,
    ):
        channel_id = (await ann.open_direct_channel(bob.user_id)).channel_id
        async with ann.connect() as here:
            assert (await here.send(channel_id, "before")).seq == 1

    status = await tidings_cluster("status", "--data", data)
    assert status.code == 0, status.err
    for engine in ("etcd", "Redis", "Cassandra"):
        assert re.fullmatch(r"127\.0\.0\.1:\d+", row(status.out, engine)[1])
    for server in ("chat-1", "presence-1", "api-1", "discovery-1", "notifier-1"):
        assert "live" in row(status.out, server)
        assert row(status.out, server)[1] in up.out

    # What runs already stays as it is.
    running = {process.pid for process in processes_of(data)}
    assert await tidings_cluster("up", "--data", data) == up
    assert {process.pid for process in processes_of(data)} == running
    # One more is started, and stopped when it is wanted no more.
    more = await tidings_cluster("up", "--presence-servers", "2", "--data", data)
    assert more.code == 0, more.err
    assert set(more.out.splitlines()) > set(up.out.splitlines())
    assert len(processes_of(data)) == len(running) + 1
    assert await tidings_cluster("up", "--presence-servers", "1", "--data", data) == up
    assert {process.pid for process in processes_of(data)} == running

    down = await tidings_cluster("down", "--data", data)
    assert (down.code, down.out.strip()) == (0, "stopped"), down.err
    assert processes_of(data) == []
    status = await tidings_cluster("status", "--data", data)
    assert (status.code, row(status.out, "chat-1")) == (0, ["chat-1", "does not run"]), status.err

    again = await tidings_cluster("up", "--data", data)
    assert again == up, "it is found where it was"
    async with await Tidings.resume(tmp_path / "bob") as bob, bob.connect() as there:
        async for event in there:
            if event.HasField("message"):
                assert event.message.text == "before"
                break
        assert (await there.send(channel_id, "after")).seq == 2
    assert (await tidings_cluster("down", "--data", data)).code == 0


async def test_an_engine_that_is_missing_is_named_and_nothing_is_left_running(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    up = await tidings_cluster("up", *_SMALL, "--data", data, environment={"PATH": str(tmp_path / "bin")})
    assert (up.code, up.out) == (1, "")
    assert re.fullmatch(r"tidings cluster: \S+ is not on PATH: install Debian's \S+, or run \S+\.\n", up.err)
    assert processes_of(data) == []


async def test_where_nothing_runs_that_is_said(data: Path) -> None:
    down = await tidings_cluster("down", "--data", data)
    assert down == Completed(1, "", f"tidings cluster: nothing runs in {data}.\n")


async def test_a_folder_that_is_no_clusters_is_told(data: Path) -> None:
    await asyncio.to_thread(data.mkdir)
    (data / "sizes.json").write_text("[]")
    status = await tidings_cluster("status", "--data", data)
    assert status == Completed(1, "", f"tidings cluster: {data / 'sizes.json'} is not what a cluster has left there.\n")
