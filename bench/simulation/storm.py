"""What happens when many clients lose their servers in the same moment, and all look for another."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidings_client import Backoff

_WELCOME_SECONDS = 10.0
"""How long a client waits for a server's first word before it tries another."""
_ADVICE_SECONDS = 3.0
"""How long a client waits for a recommendation before it takes a server that it knows of."""
_LEASE_SECONDS = 5.0
"""How long a dead server is recommended."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What each step takes of the one core that a server has, and how many servers there are for it."""

    connect_s: float
    recommend_s: float
    discovery_servers: int
    spare: float
    """The share of a chat server's core that its other work leaves."""


class Queue:
    """Servers that do one thing after another."""

    def __init__(self, servers: int, seconds_each: float) -> None:
        """All are idle."""
        self._seconds_each = seconds_each
        self._free_at = [0.0] * servers
        self.longest = 0.0
        """The longest that anybody waited."""

    def __len__(self) -> int:
        """How many servers there are."""
        return len(self._free_at)

    def done_at(self, server: int, now: float) -> float:
        """Enters something at one server; gives when it will be done. Times must not go back."""
        done = max(now, self._free_at[server]) + self._seconds_each
        self._free_at[server] = done
        self.longest = max(self.longest, done - now)
        return done


@dataclass(frozen=True, slots=True)
class Storm:
    """How it went."""

    clients: int
    live_after_s: Sequence[float]
    """Of each client, in order."""
    attempts: int
    """Of all clients together, to open a stream."""
    gave_up_waiting: int
    """How many of these waited for a server that did not get to it in time."""
    arrivals: Sequence[int]
    """At all survivors together, in each second."""
    most_arrivals: int
    """At one survivor in one tenth of a second."""
    longest_queue_s: float
    """At a survivor."""
    longest_advice_s: float
    """At discovery."""

    def live_after(self, share: float) -> float:
        """The seconds after which a share of the clients is live again."""
        return self.live_after_s[min(self.clients - 1, int(share * self.clients))]


def storm(servers: int, lost: int, per_server: int, notice_s: float, costs: Costs, seed: int) -> Storm:
    """Kills servers at second 0, and follows every client of theirs until it is live.

    Args:
        servers: How many chat servers there were.
        lost: How many of them die.
        per_server: How many clients each had.
        notice_s: Over how many seconds clients notice: next to none when a process dies, half a minute of keepalive
            when a machine falls silent.
        costs: What things take.
        seed: Of what is drawn.
    """
    draw = random.Random(seed)
    clients = lost * per_server
    discovery = Queue(costs.discovery_servers, costs.recommend_s)
    survivors = Queue(servers - lost, costs.connect_s / costs.spare)
    backoffs = [Backoff(draw=draw.random) for _ in range(clients)]
    # When, who, and whether they know by then where to go.
    steps = [(draw.random() * notice_s + backoff.next(), client, False) for client, backoff in enumerate(backoffs)]
    heapq.heapify(steps)
    live: list[float] = []
    attempts = gave_up = 0
    by_second: Counter[int] = Counter()
    by_tenth: Counter[tuple[int, int]] = Counter()
    while steps:
        now, client, advised = heapq.heappop(steps)
        if not advised:
            # What is asked for in vain is answered all the same, and others wait for it.
            answered = discovery.done_at(draw.randrange(len(discovery)), now)
            heapq.heappush(steps, (min(answered, now + _ADVICE_SECONDS), client, True))
            continue
        attempts += 1
        # Survivors are about equally loaded, so all are as likely; of the dead ones, those not yet known to be.
        server = draw.randrange(servers if now < _LEASE_SECONDS else servers - lost)
        if server >= len(survivors):
            heapq.heappush(steps, (now + backoffs[client].next(), client, False))
            continue
        by_second[int(now)] += 1
        by_tenth[int(now * 10), server] += 1
        done = survivors.done_at(server, now)
        if done > now + _WELCOME_SECONDS:
            gave_up += 1
            heapq.heappush(steps, (now + _WELCOME_SECONDS + backoffs[client].next(), client, False))
        else:
            live.append(done)
    live.sort()
    return Storm(
        clients=clients,
        live_after_s=live,
        attempts=attempts,
        gave_up_waiting=gave_up,
        arrivals=[by_second[second] for second in range(max(by_second) + 1)],
        most_arrivals=max(by_tenth.values()),
        longest_queue_s=survivors.longest,
        longest_advice_s=discovery.longest,
    )
