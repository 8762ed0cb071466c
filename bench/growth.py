"""How the cost of a message grows: with the messages stored, with the channels, with the connections.

`python -m bench.growth` measures and writes a JSON file. Messages and channels are measured inside one process, without
gRPC, whose share does not depend on them and would only add its noise; connections on a server with the load generator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import generator, machine
from bench.chart import chart
from bench.plan import Load, Sizes
from bench.servers import tidings
from chat_server.live import LiveSessions
from chat_server.owner import Owner, OwnerEvents
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.core.actions import CreateChannel, Send
from tidings.core.clock import SystemClock
from tidings.core.positions import Positions
from tidings.core.values import ChannelKind, SeqRange

STORED = (1_000, 10_000, 100_000, 1_000_000)
CHANNELS = (10, 100, 1_000, 10_000)
CONNECTIONS = (100, 500, 2_000, 5_000)

_TEXT = "x" * 200
_FILL = 500
_ROUNDS = 5
# Commands that are under way together, and how many of them one channel gets.
_TOGETHER, _A_CHANNEL = 400, 8
_PAGES = 200
# Measured in each round.
_MESSAGES = 4_000
_RATE = 200


@asynccontextmanager
async def _owner(folder: Path) -> AsyncIterator[tuple[Owner, SqliteHistory]]:
    database = Database(folder)
    clock = SystemClock()
    events = OwnerEvents(
        marked=lambda channel, user_ids: None,
        written=lambda channel, draft: None,
        is_awake=lambda channel_id: True,
        is_unsaved=lambda channel_id: False,
    )
    yield Owner(SqliteChannelLog(database), LiveSessions(), Positions(clock), clock, events), SqliteHistory(database)
    await database.close()


async def _make(owner: Owner, channel_ids: Sequence[str]) -> None:
    for first in range(0, len(channel_ids), _FILL):
        made = channel_ids[first : first + _FILL]
        await asyncio.gather(
            *(owner.submit(each, "ann", CreateChannel(ChannelKind.GROUP, "", ("bob",))) for each in made)
        )


async def _send(owner: Owner, channel_id: str, name: str, count: int) -> None:
    await asyncio.gather(*(owner.submit(channel_id, "ann", Send(f"{name}-{n}", _TEXT)) for n in range(count)))


async def _cost(owner: Owner, channel_ids: Sequence[str], messages: int, name: str) -> float:
    """Microseconds of CPU, of all threads, that a message takes: the least of several rounds."""
    costs = []
    at = 0
    for round_ in range(_ROUNDS):
        before = time.process_time()
        for step in range(messages // _TOGETHER):
            chosen = [channel_ids[(at + n) % len(channel_ids)] for n in range(_TOGETHER // _A_CHANNEL)]
            at += len(chosen)
            await asyncio.gather(*(_send(owner, each, f"{name}-{round_}-{step}", _A_CHANNEL) for each in set(chosen)))
        sent = messages // _TOGETHER * len(set(chosen)) * _A_CHANNEL
        costs.append((time.process_time() - before) * 1e6 / sent)
    return min(costs)


async def stored(folder: Path, sizes: Sequence[int], messages: int = _MESSAGES) -> dict[int, dict[str, float]]:
    """With so many messages stored, all in one channel: what another one costs, and a page of 50 from their midst."""
    found = {}
    async with _owner(folder) as (owner, history):
        others = [f"channel-{n}" for n in range(50)]
        await _make(owner, ["large", *others])
        have = 0
        for size in sizes:
            while have < size:
                await _send(owner, "large", f"fill-{have}", _FILL)
                have += _FILL
            cost = await _cost(owner, ["large", *others], messages, f"{size}")
            took = []
            for n in range(_PAGES):
                begin = time.perf_counter()
                page = await history.messages("large", [SeqRange(1)], 2 + (n * 7919) % (size - 60) + 60, 0, 50)
                took.append((time.perf_counter() - begin) * 1e3)
                assert len(page) == 50
            found[size] = {"message_us": cost, "page_p50_ms": statistics.median(took)}
    return found


async def channels(folder: Path, sizes: Sequence[int], messages: int = _MESSAGES) -> dict[int, dict[str, float]]:
    """With so many channels that are written to in turn: what a message costs."""
    found = {}
    async with _owner(folder) as (owner, _):
        ids: list[str] = []
        for size in sizes:
            new = [f"channel-{n}" for n in range(len(ids), size)]
            await _make(owner, new)
            ids += new
            found[size] = {"message_us": await _cost(owner, ids, max(messages, size), f"{size}")}
    return found


def connections(sizes: Sequence[int], seconds: float) -> dict[int, dict[str, float]]:
    """With so many connections, in pairs that take turns at a fixed rate: a message's cost, and how long it takes."""
    found = {}
    for size in sizes:
        load = Load(f"rate-{size}", "", "rate", (f"-rate={_RATE}", f"-pairs={size // 2}"))
        with tidings() as server:
            report = generator.run(load, replace(Sizes(), measured_seconds=seconds), server)
        found[size] = {
            "message_us": report["server_cpu_s"] * 1e6 / report["accepted"],
            "accept_p50_ms": report["accept_ms"]["p50"],
        }
    return found


def charts(content: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, str]:
    """Charts of what was measured, by file name."""

    def points(what: str, figure: str) -> list[tuple[float, float]]:
        return [(float(size), found[figure]) for size, found in content[what].items()]

    cost = "CPU a message, us"
    return {
        "stored.svg": chart(
            "With more messages stored", "messages stored", cost, {"message": points("stored", "message_us")}
        ),
        "page.svg": chart(
            "A page of 50 from one channel", "messages in it", "ms, median", {"page": points("stored", "page_p50_ms")}
        ),
        "channels.svg": chart(
            "With more channels", "channels written to", cost, {"message": points("channels", "message_us")}
        ),
        "connections.svg": chart(
            f"With more connections, {_RATE} messages/s in all",
            "connections",
            cost,
            {"message": points("connections", "message_us")},
        ),
    }


def main() -> None:
    """Measures everything, and writes it as JSON and as charts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--charts", type=Path, metavar="DIR", help="where to write charts")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of connections")
    chosen = parser.parse_args()
    about = machine.describe(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="tidings-growth-") as name:
        content: dict[str, Any] = {
            "machine": about,
            "stored": asyncio.run(stored(Path(name) / "stored", STORED)),
            "channels": asyncio.run(channels(Path(name) / "channels", CHANNELS)),
            "connections": connections(CONNECTIONS, chosen.seconds),
        }
    chosen.json.write_text(json.dumps(content, indent=2) + "\n")
    if chosen.charts is not None:
        for name, svg in charts({key: content[key] for key in ("stored", "channels", "connections")}).items():
            (chosen.charts / name).write_text(svg)


if __name__ == "__main__":
    main()
