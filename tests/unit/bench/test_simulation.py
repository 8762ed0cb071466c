"""What stands in for the product's rules at a thousand servers says what the rules say."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from bench.simulation import placement, recommendation
from bench.simulation.storm import Costs, Queue, Storm, storm
from tidings.mesh.placement import Placement

SERVERS = 20
CHANNELS = placement.names("channel", 4_000)


def no_time() -> float:
    return 0.0


def rings() -> tuple[Placement, Placement]:
    ids = placement.names("server", SERVERS)
    return Placement(ids), Placement(ids[1:])


def test_the_ring_spreads_channels_as_drawing_does() -> None:
    ring, _ = rings()
    by_placement = placement.balance(placement.per_server(ring, placement.sequencers(ring, CHANNELS)))
    drawn = placement.balance(placement.drawn_sequencers(SERVERS, len(CHANNELS), random.Random(1)))
    assert by_placement.mean == drawn.mean == 200
    # Chance keeps it within four deviations, each of which is (2/19)**0.5.
    assert 0.1 < by_placement.dispersion < 2.3
    assert 0.1 < drawn.dispersion < 2.3


def test_a_balance_tells_the_ends() -> None:
    found = placement.balance([1.0, 3.0, 3.0, 5.0])
    assert (found.mean, found.least) == (3.0, 1.0 / 3.0)
    assert found.most == found.p99 == pytest.approx(5 / 3)
    assert found.dispersion == pytest.approx(8 / 3 / 3)


def test_only_the_channels_of_who_went_or_came_move() -> None:
    ring, smaller = rings()
    dies, comes = placement.moves(ring, smaller, CHANNELS), placement.moves(smaller, ring, CHANNELS)
    assert dies.only_of_the_changed and comes.only_of_the_changed
    assert dies.share == comes.share == pytest.approx(1 / SERVERS, abs=0.02)
    assert (dies.receivers, comes.receivers) == (SERVERS - 1, 1)


def test_more_than_must_move_is_noticed() -> None:
    class Moody(Placement):
        def server_of(self, channel_id: str) -> str | None:
            return super().server_of(channel_id + "!")

    ring, smaller = rings()
    assert not placement.moves(ring, Moody(smaller.server_ids), CHANNELS).only_of_the_changed


def test_activity_is_unequal_and_its_mean_is_one() -> None:
    channels = placement.drawn_activity([1] * 200_000, random.Random(3))
    assert sum(channels) / len(channels) == pytest.approx(1, abs=0.05)
    channels.sort(reverse=True)
    assert sum(channels[:40_000]) / sum(channels) == pytest.approx(0.75, abs=0.05)


def test_the_same_seed_gives_the_same() -> None:
    one, other, third = (placement.simulate(100, 50_000, 200, 5, seed, no_time) for seed in (1, 1, 2))
    assert one == other
    assert one.drawn != third.drawn


@pytest.mark.parametrize(
    "loads",
    [
        [0.5] * 30,
        [0.0] + [0.5] * 29,
        [0.02 * number for number in range(30)],
        [1.0] * 28 + [0.25, 0.2],
        [1.0] * 30,
    ],
    ids=["equal", "one empty", "all different", "most full", "all full"],
)
async def test_the_recommender_recommends_what_its_equivalent_says(loads: list[float]) -> None:
    found = await recommendation.agreement(loads, 2_000, random.Random(4), no_time)
    assert found.outside == 0
    assert found.spread.least > 0.5
    assert found.spread.most < 1.5


async def test_a_server_ruled_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendation, "first_choices", lambda loads: list(range(1, len(loads))))
    found = await recommendation.agreement([0.5] * 10, 500, random.Random(4), no_time)
    assert found.outside > 0


def test_one_newcomer_among_a_hundred_is_not_flooded() -> None:
    found = recommendation.newcomers(100, 1, 1_000, 1 / 100, 900, random.Random(5))
    # A thousand clients a second come: all of them would fill it twice before it reports.
    assert found.most_arrivals < 200
    assert found.highest_load < 0.75
    assert found.level_after is not None
    assert found.end.most < 1.15


def test_clients_stay_as_many() -> None:
    fleet = recommendation.Fleet([500] * 100, 1_000, 3)
    draw = random.Random(6)
    for second in range(100):
        assert sum(fleet.step(second, 500, draw).values()) == 500
    assert sum(fleet.streams) == pytest.approx(50_000, rel=0.01)


def test_a_queue_does_one_after_another() -> None:
    queue = Queue(2, 1.0)
    assert [queue.done_at(0, 0.0), queue.done_at(0, 0.5), queue.done_at(1, 0.5), queue.done_at(0, 9.0)] == [
        1,
        2,
        1.5,
        10,
    ]
    assert queue.longest == 1.5


def small_storm(connect_s: float = 0.001, notice_s: float = 0.05, seed: int = 7) -> Storm:
    return storm(100, 5, 200, notice_s, Costs(connect_s, 0.0005, 5, 0.5), seed)


def test_after_a_storm_everybody_is_live() -> None:
    found = small_storm()
    assert len(found.live_after_s) == found.clients == 1_000
    assert all(one <= other for one, other in pairwise(found.live_after_s))
    assert sum(found.arrivals) == found.clients + found.gave_up_waiting
    assert found.attempts >= sum(found.arrivals)
    assert found.gave_up_waiting == 0
    # The dead are recommended for 5 s at most, and nobody waits longer than 10.
    assert found.live_after(0.5) < 1
    assert found.live_after(1.0) < 15
    assert found == small_storm()
    assert found != small_storm(seed=8)


def test_who_notices_late_comes_late() -> None:
    assert small_storm(notice_s=20.0).live_after(0.5) == pytest.approx(10, abs=1.5)


def test_who_waits_too_long_tries_elsewhere() -> None:
    found = small_storm(connect_s=0.5)
    assert found.gave_up_waiting > 0
    assert len(found.live_after_s) == found.clients
    assert found.longest_queue_s > 10
