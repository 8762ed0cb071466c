"""`tidings simulate`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bench.simulation.placement import Balance, Placed
from bench.simulation.placement import simulate as simulate_placement
from bench.simulation.recommendation import Agreement, Newcomers, agreement, newcomers
from bench.simulation.storm import Costs, Storm, storm

_WIDTH = 120
_SAMPLE = 3_000
_ASKED = 2_000
_PER_SERVER = 10_000
_CHURN = 1 / 600
_SECONDS = 600
_LOST = 0.05
_CONNECT_SECONDS = 0.0015
_RECOMMEND_SECONDS = 0.0006
_SPARE = 0.5
_CHAT_SERVERS_OF_A_DISCOVERY_SERVER = 20

Rows = Iterator[tuple[str, str]]


def simulate(
    servers: Annotated[int, typer.Option(min=100, help="How many chat servers.")] = 1_000,
    channels: Annotated[int, typer.Option(min=1_000, help="How many channels they own.")] = 10_000_000,
    seed: Annotated[int, typer.Option(help="The same gives the same figures, but for what was measured.")] = 1,
) -> None:
    """Simulates placement, recommendation and reconnecting at many servers, on the rules that the servers follow."""
    console = Console()
    console.width = max(console.width, _WIDTH)
    lost = round(servers * _LOST)
    cpu = time.process_time
    draw = random.Random(seed)
    spread = simulate_placement(servers, channels, _SAMPLE, lost, seed, cpu)
    _show(console, f"{channels:,} channels on {servers:,} chat servers", _of_placement(spread, servers, lost))

    loads = [0.3 + 0.4 * draw.random() for _ in range(servers)]
    agreed = asyncio.run(agreement(loads, _ASKED, draw, cpu))
    fresh = [newcomers(servers, count, _PER_SERVER, _CHURN, _SECONDS, draw) for count in (0, 1, lost)]
    title = f"recommendations, {_PER_SERVER:,} streams a server, 1 in {round(1 / _CHURN)} moving each second"
    _show(console, title, _of_recommendation(agreed, fresh))

    discovery = max(1, round(servers / _CHAT_SERVERS_OF_A_DISCOVERY_SERVER))
    costs = Costs(_CONNECT_SECONDS, _RECOMMEND_SECONDS, discovery, _SPARE)
    for cause, notice in (("processes die: all clients see it at once", 0.05), ("machines fall silent", 20.0)):
        storms = storm(servers, lost, _PER_SERVER, notice, costs, seed)
        title = f"{lost} of {servers:,} servers lost, {discovery} discovery servers; {cause}"
        _show(console, title, _of_storm(storms))


def _show(console: Console, title: str, rows: Rows) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def _of_placement(found: Placed, servers: int, lost: int) -> Rows:
    yield "channels a server, least / p99 / most, in means", _balance(found.drawn)
    yield "messages a server, busy fifth of channels having 4/5 of them", _balance(found.activity)
    yield (
        f"dispersion of {_SAMPLE:,} channels, by placement / drawn (chance: 1)",
        (f"{found.placement.dispersion:.2f} / {found.drawn_sample.dispersion:.2f}"),
    )
    yield "most channels that the death of one server moves", f"{found.largest_loss:.4%}"
    for name, moves, expected in (
        ("one server dies", found.one_dies, 1 / servers),
        ("one server comes", found.one_comes, 1 / (servers + 1)),
        (f"{lost} servers die", found.many_die, lost / servers),
    ):
        exactly = "only those that must" if moves.only_of_the_changed else "OTHERS TOO"
        yield f"{name}, by placement: share that moves", f"{moves.share:.2%} (expected {expected:.2%}), {exactly}"
    yield f"channels a server after {lost} died", _balance(found.after_many_died)
    yield "CPU to weigh all servers for one channel", f"{found.lookup_us:,.0f} us"


def _of_recommendation(agreed: Agreement, fresh: list[Newcomers]) -> Rows:
    yield f"{_ASKED:,} real recommendations that the simulation rules out", str(agreed.outside)
    yield "CPU of one recommendation", f"{agreed.recommend_us:,.0f} us"
    for each in fresh:
        name = f"{each.servers} empty at first" if each.servers else "all equally full at first"
        yield f"{name}: most arrivals at one server in a second", f"{each.most_arrivals:,}"
        yield f"{name}: highest load of {'these' if each.servers else 'all'}", f"{each.highest_load:.2f}"
        level = "not" if each.level_after is None else f"after {each.level_after} s"
        yield f"{name}: all within a tenth of the mean", level
        yield f"{name}: streams a server after {_SECONDS} s", _balance(each.end)


def _of_storm(found: Storm) -> Rows:
    yield "clients / attempts / gave up waiting", f"{found.clients:,} / {found.attempts:,} / {found.gave_up_waiting:,}"
    yield "live again: half, 99 %, all", " / ".join(f"{found.live_after(share):.1f} s" for share in (0.5, 0.99, 1.0))
    yield "most arrivals at all survivors in a second", f"{max(found.arrivals):,}"
    yield "most arrivals at one survivor in 0.1 s", f"{found.most_arrivals:,}"
    yield "longest wait at a survivor / at discovery", f"{found.longest_queue_s:.2f} s / {found.longest_advice_s:.2f} s"


def _balance(found: Balance) -> str:
    return f"{found.least:.3f} / {found.p99:.3f} / {found.most:.3f}"
