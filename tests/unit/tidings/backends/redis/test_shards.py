"""How keys are spread over several Redis servers."""

from __future__ import annotations

from collections import Counter

import pytest

from tidings.backends.redis.shards import Shards

URLS = [f"redis://user:secret@10.0.0.{number}:6379/0" for number in range(1, 6)]
KEYS = [f"user-{number}" for number in range(20_000)]


def homes(urls: list[str]) -> dict[str, str]:
    shards = Shards(urls)
    return {key: shards.of(key).name for key in KEYS}


def test_every_process_finds_the_same_server_whatever_the_order_and_the_password() -> None:
    assert homes(URLS) == homes([url.replace("secret", "other") for url in reversed(URLS)])


def test_each_server_gets_its_fair_share() -> None:
    counts = Counter(homes(URLS).values())
    assert len(counts) == 5
    assert all(3_400 < count < 4_600 for count in counts.values())


def test_another_server_takes_its_share_and_nothing_moves_between_the_others() -> None:
    before, after = homes(URLS[:4]), homes(URLS)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {"10.0.0.5:6379/0"}
    assert 0.15 < len(moved) / len(KEYS) < 0.25


def test_splitting_gives_each_key_to_its_server() -> None:
    shards = Shards(URLS)
    parts = shards.split(KEYS)
    assert sorted(key for part in parts.values() for key in part) == sorted(KEYS)
    assert all(shards.of(key) is pipeline for pipeline, part in parts.items() for key in part)
    assert shards.split([]) == {}
    assert Shards(URLS[:1]).split([]) == {}


@pytest.mark.parametrize("urls", [[], [URLS[0], URLS[0].replace("secret", "other")]])
def test_servers_must_be_there_and_different(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one Redis server, each once"):
        Shards(urls)


def test_a_secret_is_in_no_name() -> None:
    assert all("secret" not in pipeline.name for pipeline in Shards(URLS).pipelines)
