"""What every `PresenceStore` promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.soft_state import SOFT_ENGINES
from tidings.core.ports import PresenceStore
from tidings.core.values import Presence

NOW = 1_750_000_000_000


@pytest.fixture(params=SOFT_ENGINES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[PresenceStore]:
    async with SOFT_ENGINES[request.param](request) as ports:
        yield ports.presence_store


async def presence(store: PresenceStore, user_id: str) -> Presence:
    return (await store.presences([user_id]))[user_id]


async def test_somebody_never_seen_is_offline_since_nobody_knows_when(store: PresenceStore) -> None:
    assert await store.presences(["a", "b"]) == {"a": Presence("a", False, 0), "b": Presence("b", False, 0)}
    assert await store.presences([]) == {}


async def test_only_the_first_beat_of_the_first_device_brings_a_user_online(store: PresenceStore) -> None:
    assert await store.beat("a", "phone", NOW)
    assert not await store.beat("a", "phone", NOW + 5)
    assert not await store.beat("a", "laptop", NOW + 6)
    assert await store.beat("b", "tablet", NOW)
    assert await presence(store, "a") == Presence("a", True, 0)


async def test_the_last_device_to_leave_takes_the_user_offline(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    await store.beat("a", "laptop", NOW)
    assert await store.leave("phone", NOW + 1) is None
    assert (await presence(store, "a")).online
    assert await store.leave("laptop", NOW + 2) == "a"
    assert await presence(store, "a") == Presence("a", False, NOW + 2)


async def test_leaving_twice_or_without_having_been_there_is_nothing(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    assert await store.leave("laptop", NOW) is None
    assert await store.leave("phone", NOW) == "a"
    assert await store.leave("phone", NOW + 1) is None
    assert await presence(store, "a") == Presence("a", False, NOW)


async def test_silence_expires_to_the_millisecond(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    assert await store.expire(NOW, 0) == []
    assert (await presence(store, "a")).online
    assert await store.expire(NOW + 1, 0) == ["a"]
    assert await presence(store, "a") == Presence("a", False, NOW)


async def test_each_user_who_expires_is_returned_once(store: PresenceStore) -> None:
    for user_id in "abc":
        await store.beat(user_id, f"{user_id}-phone", NOW)
    assert sorted(await store.expire(NOW + 1, 0)) == ["a", "b", "c"]
    assert await store.expire(NOW + 1, 0) == []


async def test_a_later_beat_keeps_a_device(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    await store.beat("a", "phone", NOW + 100)
    assert await store.expire(NOW + 100, 0) == []
    assert await store.expire(NOW + 101, 0) == ["a"]


async def test_one_device_that_lives_keeps_the_user(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    await store.beat("a", "laptop", NOW + 100)
    assert await store.expire(NOW + 1, 0) == []
    assert (await presence(store, "a")).online
    assert await store.leave("laptop", NOW + 100) == "a"


async def test_devices_that_expire_together_give_their_user_once_and_the_latest_time(store: PresenceStore) -> None:
    await store.beat("a", "laptop", NOW + 7)
    await store.beat("a", "phone", NOW)
    assert await store.expire(NOW + 100, 0) == ["a"]
    assert await presence(store, "a") == Presence("a", False, NOW + 7)


async def test_last_seen_is_of_the_device_that_was_last_there(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    await store.beat("a", "laptop", NOW)
    await store.leave("laptop", NOW + 50)
    assert await store.expire(NOW + 1, 0) == ["a"]
    assert await presence(store, "a") == Presence("a", False, NOW + 50)


async def test_whoever_was_gone_comes_back(store: PresenceStore) -> None:
    await store.beat("a", "phone", NOW)
    await store.expire(NOW + 1, 0)
    assert await store.beat("a", "phone", NOW + 60)
    assert await presence(store, "a") == Presence("a", True, 0)
    await store.leave("phone", NOW + 61)
    assert await store.beat("a", "phone", NOW + 62)
