"""How evenly channels are spread over servers, and which of them move when servers come and go."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from tidings.mesh.placement import Placement

_CHUNK = 1_000_000
_PARETO = 1.16
"""Of channels' activity: the busiest fifth of them has four fifths of the messages."""
_BUSIEST = 5_000.0
"""How many times as busy as the quietest channel the busiest may be: 885 means, some messages a second all day."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How something is spread over servers."""

    mean: float
    least: float
    """In means, as are the following."""
    p99: float
    most: float
    dispersion: float
    """Variance by mean: 1 is what chance alone makes of things that are counted."""


def balance(amounts: Sequence[float]) -> Balance:
    """The balance of what each server has; at least two servers, and something to have."""
    mean = statistics.fmean(amounts)
    ranked = sorted(amounts)
    rank = min(len(ranked) - 1, int(0.99 * len(ranked)))
    return Balance(
        mean,
        ranked[0] / mean,
        ranked[rank] / mean,
        ranked[-1] / mean,
        statistics.variance(amounts, mean) / mean,
    )


def names(kind: str, count: int) -> list[str]:
    """The ids of so many servers or channels."""
    return [f"{kind}{number:08}" for number in range(count)]


def sequencers(placement: Placement, channel_ids: Sequence[str]) -> list[str]:
    """The server of each channel; the placement has servers."""
    return [placement.server_of(channel_id) or "" for channel_id in channel_ids]


def per_server(placement: Placement, chosen: Sequence[str]) -> list[int]:
    """How many of the channels each server sequences."""
    counts = Counter(chosen)
    return [counts[server_id] for server_id in sorted(placement.server_ids)]


def drawn_sequencers(servers: int, channels: int, draw: random.Random) -> list[int]:
    """How many channels each server sequences, for more channels than a placement can be asked for.

    Placement weighs every server for every channel. Its hash makes each of them win equally likely and independently of
    other channels, so that drawing the winner is as good.
    """
    counts: Counter[int] = Counter()
    numbers = range(servers)
    for done in range(0, channels, _CHUNK):
        counts.update(draw.choices(numbers, k=min(_CHUNK, channels - done)))
    return [counts[number] for number in numbers]


def drawn_activity(counts: Sequence[int], draw: random.Random) -> list[float]:
    """What each server has of all messages, when it sequences so many channels and these are as unequal as real ones.

    Returns:
        In means of a channel.
    """
    exponent = -1 / _PARETO
    mean = (_PARETO - _BUSIEST ** (1 - _PARETO)) / (_PARETO - 1)
    # The same number again and again: a generator would cost as much as what it gives.
    uniform = iter(draw.random, 2.0)
    return [
        sum(min(_BUSIEST, (1.0 - number) ** exponent) for number in islice(uniform, count)) / mean for count in counts
    ]


@dataclass(frozen=True, slots=True)
class Moves:
    """Which channels have another server than before."""

    share: float
    """Of all channels."""
    only_of_the_changed: bool
    """Whether they are exactly the channels of servers that went, or exactly those that servers which came now own."""
    receivers: int
    """How many servers they went to."""


def moves(before: Placement, after: Placement, channel_ids: Sequence[str]) -> Moves:
    """What changes between two placements of which one has all servers of the other."""
    old, new = sequencers(before, channel_ids), sequencers(after, channel_ids)
    gone, come = before.server_ids - after.server_ids, after.server_ids - before.server_ids
    moved = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    must_move = sum(one in gone or other in come for one, other in zip(old, new, strict=True))
    expected = all(one in gone or other in come for one, other in moved) and len(moved) == must_move
    return Moves(len(moved) / len(channel_ids), expected, len({other for _, other in moved}))


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of it."""

    placement: Balance
    """Of channels, by the placement itself, on the sample."""
    drawn_sample: Balance
    """Of as many channels, drawn instead."""
    drawn: Balance
    """Of all channels."""
    activity: Balance
    """Of messages."""
    largest_loss: float
    """The share of all channels that moves when the server with most of them dies."""
    one_dies: Moves
    one_comes: Moves
    many_die: Moves
    after_many_died: Balance
    lookup_us: float
    """What asking the placement for a channel costs that it does not remember: CPU time."""


def simulate(servers: int, channels: int, sample: int, lost: int, seed: int, cpu: Callable[[], float]) -> Placed:
    """Looks at a mesh.

    Args:
        servers: How many chat servers there are.
        channels: How many channels they sequence.
        sample: How many of these the placement itself is asked for.
        lost: How many servers die at once.
        seed: Of what is drawn.
        cpu: Tells the CPU seconds that this process has used.
    """
    draw = random.Random(seed)
    server_ids, channel_ids = names("server", servers), names("channel", sample)
    placement = Placement(server_ids)
    begun = cpu()
    chosen = sequencers(placement, channel_ids)
    lookup_us = (cpu() - begun) * 1e6 / sample
    counts = drawn_sequencers(servers, channels, draw)
    # The channels of those that died are spread like any others, over those that are left.
    survivors = counts[lost:]
    inherited = drawn_sequencers(len(survivors), sum(counts[:lost]), draw)
    return Placed(
        placement=balance(per_server(placement, chosen)),
        drawn_sample=balance(drawn_sequencers(servers, sample, draw)),
        drawn=balance(counts),
        activity=balance(drawn_activity(counts, draw)),
        largest_loss=max(counts) / channels,
        one_dies=moves(placement, Placement(server_ids[1:]), channel_ids),
        one_comes=moves(placement, Placement([*server_ids, "another"]), channel_ids),
        many_die=moves(placement, Placement(server_ids[lost:]), channel_ids),
        after_many_died=balance([own + more for own, more in zip(survivors, inherited, strict=True)]),
        lookup_us=lookup_us,
    )
