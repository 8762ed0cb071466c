"""Which servers are recommended."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.recommender import MOST, NearestFirst, haversine_km
from tidings.backends.memory.registry import MemoryRegistry
from tidings.core.values import Server, ServerKind

CHAT = ServerKind.CHAT
FRANKFURT = (50.11, 8.68)
PARIS = (48.86, 2.35)
NEW_YORK = (40.71, -74.01)
TOKYO = (35.68, 139.69)
NOWHERE = (0.0, 0.0)


def server(
    name: str, region: str = "", place: tuple[float, float] = NOWHERE, load: float = 0.0, draining: bool = False
) -> Server:
    return Server(name, CHAT, f"{name}:7000", region, load, *place, draining)


async def recommender(*servers: Server, seed: int = 1) -> NearestFirst:
    registry = MemoryRegistry()
    for each in servers:
        await registry.register(each)
    return NearestFirst(registry, random.Random(seed).random)


def names(servers: Sequence[Server]) -> list[str]:
    return [each.server_id for each in servers]


async def test_nothing_is_recommended_where_nothing_is() -> None:
    nearest = await recommender(Server("api", ServerKind.API, "api:7000", "", 0.0))
    assert list(nearest.recommend(CHAT)) == []
    assert names(nearest.recommend(ServerKind.API)) == ["api"]


async def test_near_servers_come_first_however_busy() -> None:
    nearest = await recommender(
        server("tokyo", "ap", TOKYO),
        server("frankfurt", "eu", FRANKFURT, load=0.9),
        server("new-york", "us", NEW_YORK, load=0.1),
    )
    assert names(nearest.recommend(CHAT, coordinates=PARIS)) == ["frankfurt", "new-york", "tokyo"]
    assert names(nearest.recommend(CHAT, coordinates=NEW_YORK)) == ["new-york", "frankfurt", "tokyo"]


async def test_coordinates_say_more_than_a_region() -> None:
    nearest = await recommender(server("frankfurt", "eu", FRANKFURT), server("new-york", "us", NEW_YORK))
    assert names(nearest.recommend(CHAT, "us", PARIS)) == ["frankfurt", "new-york"]


async def test_the_own_region_comes_first_and_then_those_near_it() -> None:
    nearest = await recommender(
        server("frankfurt", "eu-central", FRANKFURT),
        server("new-york", "us-east", NEW_YORK),
        server("paris-far-end", "eu-west", (51.5, -0.12), load=0.9),
        server("paris", "eu-west", PARIS, load=0.5),
    )
    assert names(nearest.recommend(CHAT, "eu-west")) == ["paris", "paris-far-end", "frankfurt", "new-york"]


async def test_a_region_is_where_its_draining_servers_are_too() -> None:
    nearest = await recommender(
        server("new-york", "us-east", NEW_YORK),
        server("frankfurt", "eu-central", FRANKFURT, load=0.5),
        server("paris", "eu-west", PARIS, draining=True),
    )
    assert names(nearest.recommend(CHAT, "eu-west")) == ["frankfurt", "new-york"]


async def test_regions_count_without_coordinates() -> None:
    nearest = await recommender(server("a", "one"), server("b", "two", load=0.5), server("c", "three", load=0.2))
    assert names(nearest.recommend(CHAT, "two")) == ["b", "a", "c"]
    assert names(nearest.recommend(CHAT, "unheard-of")) == ["a", "c", "b"]
    assert names(nearest.recommend(CHAT, "two", PARIS)) == ["b", "a", "c"]


async def test_a_server_that_does_not_say_where_it_is_comes_after_those_that_do() -> None:
    nearest = await recommender(server("lost"), server("tokyo", "ap", TOKYO, load=0.9))
    assert names(nearest.recommend(CHAT, coordinates=(0.5, 0.5))) == ["tokyo", "lost"]


async def test_free_capacity_decides_between_equally_near_ones() -> None:
    nearest = await recommender(
        server("busy", "eu", FRANKFURT, load=0.8),
        server("idle", "eu", (50.2, 8.8), load=0.1),
        server("middling", "eu", FRANKFURT, load=0.4),
    )
    assert names(nearest.recommend(CHAT, coordinates=FRANKFURT)) == ["idle", "middling", "busy"]


async def test_full_servers_come_after_all_that_are_not() -> None:
    nearest = await recommender(server("full", "eu", FRANKFURT, load=1.0), server("tokyo", "ap", TOKYO, load=0.9))
    assert names(nearest.recommend(CHAT, coordinates=FRANKFURT)) == ["tokyo", "full"]


async def test_excluded_servers_come_last_and_draining_ones_never() -> None:
    nearest = await recommender(
        server("failed", "eu", FRANKFURT),
        server("draining", "eu", FRANKFURT, draining=True),
        server("full", "eu", FRANKFURT, load=1.0),
        server("tokyo", "ap", TOKYO),
    )
    assert names(nearest.recommend(CHAT, "eu", exclude=["failed", "unknown"])) == ["tokyo", "full", "failed"]
    everything = ["failed", "full", "tokyo", "draining"]
    assert sorted(names(nearest.recommend(CHAT, exclude=everything))) == ["failed", "full", "tokyo"]


async def test_at_most_five_are_recommended_the_best_ones() -> None:
    nearest = await recommender(*(server(f"s{number}", load=number / 8) for number in range(8)))
    assert names(nearest.recommend(CHAT)) == [f"s{number}" for number in range(MOST)]


async def test_equal_servers_share_those_who_ask() -> None:
    nearest = await recommender(
        *(server(f"equal{number}", "eu", FRANKFURT, load=0.30 + number / 50) for number in range(4)),
        server("busier", "eu", FRANKFURT, load=0.5),
    )
    first = Counter(nearest.recommend(CHAT, "eu")[0].server_id for _ in range(4000))
    assert set(first) == {f"equal{number}" for number in range(4)}
    assert min(first.values()) > 800
    assert all(names(nearest.recommend(CHAT, "eu"))[-1] == "busier" for _ in range(100))


async def test_the_same_draw_gives_the_same_order() -> None:
    servers = [server(f"s{number}") for number in range(MOST)]
    one, other = await recommender(*servers, seed=7), await recommender(*servers, seed=7)
    assert [names(one.recommend(CHAT)) for _ in range(5)] == [names(other.recommend(CHAT)) for _ in range(5)]


@pytest.mark.parametrize(
    ("one", "other", "kilometres"),
    [
        (FRANKFURT, FRANKFURT, 0),
        (FRANKFURT, PARIS, 478),
        (FRANKFURT, NEW_YORK, 6205),
        ((0, 179.5), (0, -179.5), 111),
        ((90, 0), (-90, 77), 20015),
    ],
)
def test_distances(one: tuple[float, float], other: tuple[float, float], kilometres: float) -> None:
    assert haversine_km(one, other) == pytest.approx(kilometres, rel=0.01, abs=0.01)


places = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(places, places)
def test_distances_are_the_same_both_ways_and_never_beyond_half_the_globe(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    assert haversine_km(one, other) == pytest.approx(haversine_km(other, one), abs=1e-6)
    assert 0 <= haversine_km(one, other) <= 20016


async def test_one_that_has_just_started_among_many_does_not_get_everyone() -> None:
    nearest = await recommender(server("new"), *(server(f"old{number}", load=0.5) for number in range(99)))
    firsts = Counter(names(nearest.recommend(CHAT))[0] for _ in range(1_000))
    assert len(firsts) == 10
    assert 50 < firsts["new"] < 200
