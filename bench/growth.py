"""How the cost of a message grows: with the messages stored, with the channels, with the connections.

Messages and channels are measured inside one process, without gRPC, whose share does not depend on them and would only
add its noise; connections on a server with the load generator.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import generator
from bench.chart import chart
from bench.figures import Figures, figures, spreads
from bench.plan import Load, RunSizes
from bench.servers import tidings
from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.core.actions import CreateChannel, Send
from tidings.core.clock import SystemClock
from tidings.core.ports import PageRequest
from tidings.core.positions import Positions
from tidings.core.values import ChannelKind, SeqRange
from tidings_client import new_client_message_id
from tidings_server.serve import spare_collector

STORED = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CHANNELS = (10, 100, 1_000, 10_000)
CONNECTIONS = (100, 500, 2_000, 5_000)

Growth = Mapping[str, Mapping[int, Figures]]
"""Figures by what grows and by how large it is."""

_STORED = "messages stored"
_TEXT = "x" * 200
_FILL = 500
# One more comes first, to warm up.
_ROUNDS = 7
# Commands that are under way together, and how many of them one channel gets.
_TOGETHER, _A_CHANNEL = 400, 8
_PAGES = 200
# Measured in each round.
_MESSAGES = 4_000
# Connections that talk, in pairs, all together so many messages a second; the others are there.
_TALKING = 100
_RATE = 1_000


@asynccontextmanager
async def _sequencer(folder: Path) -> AsyncIterator[tuple[Sequencer, SqliteHistory]]:
    database = Database(folder)
    clock = SystemClock()
    yield (
        Sequencer(SqliteChannelLog(database), SessionRegistry(), Positions(clock), clock),
        SqliteHistory(database),
    )
    await database.close()


async def _make(sequencer: Sequencer, channel_ids: Sequence[str]) -> None:
    for first in range(0, len(channel_ids), _FILL):
        made = channel_ids[first : first + _FILL]
        await asyncio.gather(
            *(sequencer.submit(each, "ann", CreateChannel(ChannelKind.GROUP, "", ("bob",))) for each in made)
        )


async def _send(sequencer: Sequencer, channel_id: str, count: int) -> None:
    sends = [Send(new_client_message_id(), _TEXT) for _ in range(count)]
    await asyncio.gather(*(sequencer.submit(channel_id, "ann", each) for each in sends))


async def _cost(sequencer: Sequencer, channel_ids: Sequence[str], messages: int) -> float:
    """Microseconds of CPU, of all threads, that a message takes: the median of several rounds."""
    costs = []
    at = 0
    for _ in range(_ROUNDS + 1):
        before = time.process_time()
        for _ in range(messages // _TOGETHER):
            chosen = [channel_ids[(at + n) % len(channel_ids)] for n in range(_TOGETHER // _A_CHANNEL)]
            at += len(chosen)
            await asyncio.gather(*(_send(sequencer, each, _A_CHANNEL) for each in set(chosen)))
        sent = messages // _TOGETHER * len(set(chosen)) * _A_CHANNEL
        costs.append((time.process_time() - before) * 1e6 / sent)
    return statistics.median(costs[1:])


async def stored(folder: Path, sizes: Sequence[int], messages: int = _MESSAGES) -> dict[int, Figures]:
    """With so many messages stored, all in one channel: what another one costs, and a page of 50 from their midst."""
    found = {}
    async with _sequencer(folder) as (sequencer, history):
        others = [f"channel-{n}" for n in range(50)]
        await _make(sequencer, ["large", *others])
        have = 0
        for size in sizes:
            while have < size:
                await _send(sequencer, "large", _FILL)
                have += _FILL
            cost = await _cost(sequencer, ["large", *others], messages)
            took = []
            for n in range(_PAGES):
                begin = time.perf_counter()
                before_seq = 2 + (n * 7919) % (size - 60) + 60
                page = await history.messages("large", [SeqRange(1)], PageRequest(before_seq=before_seq, limit=50))
                took.append((time.perf_counter() - begin) * 1e3)
                assert len(page) == 50
            found[size] = {"message_us": cost, "page_p50_ms": statistics.median(took)}
    return found


async def channels(folder: Path, sizes: Sequence[int], messages: int = _MESSAGES) -> dict[int, Figures]:
    """With so many channels that are written to in turn: what a message costs."""
    found = {}
    async with _sequencer(folder) as (sequencer, _):
        ids: list[str] = []
        for size in sizes:
            new = [f"channel-{n}" for n in range(len(ids), size)]
            await _make(sequencer, new)
            ids += new
            found[size] = {"message_us": await _cost(sequencer, ids, max(messages, size))}
    return found


def connections(sizes: Sequence[int], chosen: RunSizes, scratch: Path | None) -> dict[int, Figures]:
    """With so many connections, a few of which talk at a fixed rate: a message's cost, and how long it takes."""
    found: dict[int, list[Figures]] = {size: [] for size in sizes}
    for _ in range(chosen.runs):
        for size, runs in found.items():
            arguments = (f"-rate={_RATE}", f"-pairs={_TALKING // 2}", f"-beside={size - _TALKING}")
            load = Load(f"connections-{size}", f"{size:,} connections", "rate", arguments)
            with tidings(scratch) as server:
                runs.append(figures(load, generator.run(load, chosen, server)))
    return {
        size: {"message_us": spread["server_cpu_us"].median, "accept_p50_ms": spread["accept_p50_ms"].median}
        for size, spread in ((size, spreads(runs)) for size, runs in found.items())
    }


def measure(chosen: RunSizes, scratch: Path | None, before: Callable[[str], None]) -> Growth:
    """Measures all three.

    Args:
        chosen: How long and how often connections are measured.
        scratch: Where to make the data folders; the system's place for such things when None.
        before: Called before each of them with its name.
    """
    # As a server does.
    spare_collector()
    with tempfile.TemporaryDirectory(prefix="tidings-growth-", dir=scratch) as name:
        before(_STORED)
        found = {_STORED: asyncio.run(stored(Path(name) / "stored", STORED))}
        before("channels")
        found["channels"] = asyncio.run(channels(Path(name) / "channels", CHANNELS))
    before("connections")
    return found | {"connections": connections(CONNECTIONS, chosen, scratch)}


def charts(content: Growth) -> dict[str, str]:
    """Charts of what was measured, by file name."""

    def points(what: str, figure: str) -> list[tuple[float, float]]:
        return [(float(size), found[figure]) for size, found in content[what].items()]

    cost = "CPU a message, us"
    return {
        "stored.svg": chart(
            "With more messages stored", "messages stored", cost, {"message": points(_STORED, "message_us")}
        ),
        "page.svg": chart(
            "A page of 50 from one channel", "messages in it", "ms, median", {"page": points(_STORED, "page_p50_ms")}
        ),
        "channels.svg": chart(
            "With more channels", "channels written to", cost, {"message": points("channels", "message_us")}
        ),
        "connections.svg": chart(
            f"With more connections, {_RATE:,} messages/s from {_TALKING} of them",
            "connections",
            cost,
            {"message": points("connections", "message_us")},
        ),
    }
