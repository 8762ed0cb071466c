"""The bench measures what it says it does, and fails when a message is lost. How fast anything is, is not tested."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer
from google.rpc import status_pb2
from grpc import aio
from typer.testing import CliRunner

from bench import generator
from bench.cli import bench
from bench.curves import Curve
from bench.plan import LOADS, Load, RunSizes, rate
from bench.relay import Relay, Room, Stream, framed
from bench.run import measure
from bench.servers import BenchError, ServerUnderTest, Start, relay, tidings
from tidings.v1 import chat_pb2

SIZES = RunSizes(runs=1, warm_up_seconds=0.3, measured_seconds=1.0, pairs=2, connections=60, missed=300)
GROUP = Load("group-3", "group of 3", "group", ("-members=3", "-in-flight=2"), "delivery")
BY_NAME = {load.name: load for load in LOADS}
SERVERS: dict[str, Start] = {"tidings": tidings, "relay": relay}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("load", [BY_NAME["pairs"], BY_NAME["rate"], GROUP], ids=lambda load: load.name)
def test_messages_are_counted_where_they_arrive(server: str, load: Load) -> None:
    (measured,) = measure([load], SIZES, {server: SERVERS[server]}, lambda run, load, name: None)

    (report,) = measured.reports
    receivers = 2 if load is GROUP else 1
    assert report["connections"] == (3 if load is GROUP else 4)
    assert report["all_accepted"] > report["accepted"] > 0
    assert report["all_arrived"] == report["all_expected"] == report["all_accepted"] * receivers
    assert report["lost"] == report["missing_seqs"] == report["repeated"] == 0
    assert report["seconds"] == pytest.approx(SIZES.measured_seconds, rel=0.5)
    for latency, count in (("accept_ms", "accepted"), ("deliver_ms", "delivered")):
        spread = report[latency]
        assert spread["samples"] == report[count]
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"]
    (figures,) = measured.figures
    counted = report["delivered" if load is GROUP else "accepted"]
    assert figures["rate_per_s"] * report["seconds"] == pytest.approx(counted)
    assert figures["server_cpu_us"] * figures["rate_per_s"] == pytest.approx(figures["server_cores"] * 1e6)
    assert figures["server_cores"] > 0
    assert figures["client_cores"] > 0


def test_a_fixed_rate_is_kept() -> None:
    (measured,) = measure([BY_NAME["rate"]], SIZES, {"relay": relay}, lambda run, load, name: None)

    report = measured.reports[0]
    assert report["sent"] / report["seconds"] == pytest.approx(100, rel=0.3)


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_take_memory(server: str) -> None:
    (measured,) = measure([BY_NAME["idle"]], SIZES, {server: SERVERS[server]}, lambda run, load, name: None)

    report = measured.reports[0]
    assert report["connections"] == SIZES.connections
    assert report["rss_after_kib"] > report["rss_before_kib"] > 0
    assert measured.figures[0]["rss_kib"] > 0


@pytest.mark.parametrize("server", SERVERS)
def test_connects_are_counted(server: str) -> None:
    (measured,) = measure([BY_NAME["connect"]], SIZES, {server: SERVERS[server]}, lambda run, load, name: None)

    report = measured.reports[0]
    assert report["connects"] == report["connect_ms"]["samples"] > 0
    assert measured.figures[0]["server_cpu_us"] > 0


def test_a_device_that_comes_back_gets_what_it_missed() -> None:
    (measured,) = measure([BY_NAME["catchup"]], SIZES, {"tidings": tidings}, lambda run, load, name: None)

    report = measured.reports[0]
    assert report["all_arrived"] == report["delivered"] == SIZES.missed
    assert measured.figures[0]["catch_up_ms"] > 0


class Lossy(Relay):
    """Forgets one delivery of many."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def deliver(self, room: Room, frame: bytes, origin: Stream) -> None:
        self._count += 1
        if self._count != 5:
            super().deliver(room, frame, origin)


class Refusing(Relay):
    """Refuses what it is sent."""

    def _send(self, user_id: str, origin: Stream, command_id: int, message: chat_pb2.SendMessage) -> None:
        error = status_pb2.Status(code=8, message="not so fast")
        origin.send(framed(chat_pb2.Event(command_result=chat_pb2.CommandResult(command_id=command_id, error=error))))


@contextlib.asynccontextmanager
async def serving(service: Relay) -> AsyncIterator[ServerUnderTest]:
    server = aio.server()
    service.serve(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield ServerUnderTest("test", f"127.0.0.1:{port}", pid=0)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("load", [BY_NAME["pairs"], GROUP], ids=lambda load: load.name)
async def test_a_lost_message_fails_the_run(load: Load) -> None:
    async with serving(Lossy()) as server:
        with pytest.raises(BenchError, match=r"[12] deliveries were lost, [12] seqs were missing"):
            await asyncio.to_thread(generator.run, load, SIZES, server, "-drain=200ms")


async def test_a_refused_message_fails_the_run() -> None:
    async with serving(Refusing()) as server:
        with pytest.raises(BenchError, match="a command was refused: not so fast"):
            await asyncio.to_thread(generator.run, BY_NAME["pairs"], SIZES, server)


async def test_no_server_fails_the_run() -> None:
    async with serving(Relay()) as server:
        pass
    with pytest.raises(BenchError, match=r"signing up: .*refused"):
        await asyncio.to_thread(generator.run, BY_NAME["pairs"], SIZES, server)


def test_the_command_shows_a_table_and_writes_json(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(bench)
    file = tmp_path / "figures.json"

    done = CliRunner().invoke(app, ["--quick", "--loads", "rate", "--scratch", str(tmp_path), "--json", str(file)])

    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text())
    assert [(each["load"], each["server"]) for each in written["results"]] == [("rate", "tidings"), ("rate", "relay")]
    for each in written["results"]:
        spread = each["figures"]["accept_p50_ms"]
        assert spread["min"] == spread["median"] == spread["max"] == each["runs"][0]["accept_ms"]["p50"]
    assert written["machine"]["cores"] > 0
    assert "accept p50 ms" in done.output
    assert "relay" in done.output
    assert not list(tmp_path.glob("tidings-bench-*"))


def test_charts_are_drawn_of_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = Curve("rates.svg", "title", "x", "y", {"": "accept_p50_ms"}, [rate(100), rate(50)], (100, 50))
    monkeypatch.setattr("bench.cli.CURVES", [curve])
    app = typer.Typer()
    app.command()(bench)
    folder = tmp_path / "charts"

    done = CliRunner().invoke(app, ["--quick", "--loads", "rate", "--no-ceiling", "--charts", str(folder)])

    assert done.exit_code == 0, done.output
    assert (folder / "rates.svg").read_text().count("<circle") == 2


def test_growth_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sizes in (("STORED", (500, 1_000)), ("CHANNELS", (10, 60)), ("CONNECTIONS", (100, 120))):
        monkeypatch.setattr(f"bench.growth.{name}", sizes)
    app = typer.Typer()
    app.command()(bench)
    file, folder = tmp_path / "growth.json", tmp_path / "charts"

    done = CliRunner().invoke(app, ["--quick", "--growth", "--json", str(file), "--charts", str(folder)])

    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text())
    assert written["machine"]["cores"] > 0
    for what, size in (("messages stored", 500), ("channels", 10), ("connections", 120)):
        assert written[what][str(size)]["message_us"] > 0
    assert "120 connections" in done.output
    assert {each.name for each in folder.iterdir()} == {"stored.svg", "page.svg", "channels.svg", "connections.svg"}


@pytest.mark.parametrize("option", ["--json", "--charts"])
def test_where_results_cannot_go_is_told_before_anything_is_measured(tmp_path: Path, option: str) -> None:
    app = typer.Typer()
    app.command()(bench)
    (tmp_path / "file").touch()

    done = CliRunner().invoke(app, [option, str(tmp_path / "file" / "results")])

    assert done.exit_code == 1
    assert done.output == f"tidings bench: {tmp_path / 'file' / 'results'} cannot be written: Not a directory\n"


def test_growth_is_measured_alone() -> None:
    app = typer.Typer()
    app.command()(bench)

    for other in (["--loads", "rate"], ["--mesh"]):
        done = CliRunner().invoke(app, ["--growth", *other])
        assert done.exit_code == 2
        assert "--growth" in done.output


def test_an_unknown_load_is_refused() -> None:
    app = typer.Typer()
    app.command()(bench)

    done = CliRunner().invoke(app, ["--loads", "pears"])

    assert done.exit_code == 2
    assert "pears" in done.output
