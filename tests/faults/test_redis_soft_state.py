"""Redis wiped, killed, paused: soft state comes back by itself, and whoever must know is told."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually
from tidings.backends.redis.presence import RedisPresencePubSub, RedisPresenceStore
from tidings.backends.redis.routes import RedisRoutes
from tidings.backends.redis.shards import Shards
from tidings.backends.redis.sign_outs import RedisSignOutPubSub
from tidings.core.errors import Code, Refusal
from tidings.core.values import Presence
from tidings_server.cluster import Redis

NOW = 1_750_000_000_000
ONLINE = Presence("a", True, 0)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[list[Redis]]:
    """Two Redis of the test's own."""
    servers = [Redis(tmp_path / name) for name in ("one", "two")]
    try:
        yield [await server.start() for server in servers]
    finally:
        for server in servers:
            await server.kill()


@pytest.fixture
async def shards(servers: list[Redis]) -> AsyncIterator[Shards]:
    shards = Shards([server.url for server in servers])
    yield shards
    await shards.close()


@pytest.fixture
async def news(shards: Shards) -> AsyncIterator[RedisPresencePubSub]:
    news = RedisPresencePubSub(shards)
    yield news
    await news.close()


def someone_on(shards: Shards, index: int) -> str:
    """A user of a shard."""
    return next(name for number in range(1_000) if shards.of(name := f"user-{number}") is shards.pipelines[index])


async def wipe(shards: Shards) -> None:
    for pipeline in shards.pipelines:
        await pipeline.call("FLUSHALL")


async def restart(shards: Shards, servers: list[Redis]) -> None:
    await servers[0].kill()
    await servers[0].start()


async def pause(shards: Shards, servers: list[Redis]) -> None:
    """Until nobody who is connected can believe that it is there."""
    servers[0].signal(signal.SIGSTOP)
    try:
        with pytest.raises(Refusal):
            await shards.pipelines[0].call("PING")
    finally:
        servers[0].signal(signal.SIGCONT)


async def flush(shards: Shards, servers: list[Redis]) -> None:
    await wipe(shards)


FAULTS: list[Callable[[Shards, list[Redis]], Coroutine[Any, Any, None]]] = [flush, restart, pause]


# --- everything -------------------------------------------------------------------------------------------------------


async def test_every_method_refuses_while_redis_is_away_and_works_again_after(
    servers: list[Redis], shards: Shards, news: RedisPresencePubSub
) -> None:
    store, routes, sign_outs = RedisPresenceStore(shards), RedisRoutes(shards), RedisSignOutPubSub(shards)
    everybody = [someone_on(shards, 0), someone_on(shards, 1)]
    users = everybody

    def nothing(*_: object) -> None:
        pass

    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: store.beat(users[0], "phone", NOW),
        lambda: store.leave("never", NOW),
        lambda: store.expire(NOW, 0),
        lambda: store.presences(users),
        lambda: news.publish(ONLINE, users),
        lambda: news.subscribe(users[0], nothing, nothing),
        lambda: routes.add(users[0], "one"),
        lambda: routes.remove(users[0], "one"),
        lambda: routes.refresh("one", users),
        lambda: routes.lookup(users),
        lambda: routes.epoch(),
        lambda: sign_outs.publish({"phone": 1}),
        lambda: sign_outs.subscribe(nothing, nothing),
    ]
    for server in servers:
        await server.kill()
    for call in calls:
        with pytest.raises(Refusal) as refused:
            await call()
        assert refused.value.code is Code.UNAVAILABLE
        assert refused.value.retry_after
    for server in servers:
        await server.start()
    for call in calls[:5] + calls[6:12]:
        await call()
    await eventually(lambda: works(calls[5]))
    await eventually(lambda: works(calls[12]))
    await sign_outs.close()


async def works(call: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    try:
        await call()
    except Refusal:
        return False
    return True


async def test_commands_given_at_once_are_carried_out_in_their_order_and_once(shards: Shards) -> None:
    pipeline = shards.pipelines[0]
    results = await asyncio.gather(*(pipeline.call("RPUSH", "list", number) for number in range(3_000)))
    assert results == list(range(1, 3_001))
    assert [int(each) for each in await pipeline.call("LRANGE", "list", 0, -1)] == list(range(3_000))


async def test_a_command_that_redis_refuses_leaves_the_others_alone(shards: Shards) -> None:
    pipeline = shards.pipelines[0]
    calls = (pipeline.call("SET", "text", "x"), pipeline.call("INCR", "text"), pipeline.call("GET", "text"))
    results: list[object] = await asyncio.gather(*calls, return_exceptions=True)
    assert results[::2] == [b"OK", b"x"]
    assert isinstance(results[1], Refusal)
    assert results[1].code is Code.UNAVAILABLE


async def test_more_commands_than_can_be_waited_for_are_refused_at_once(servers: list[Redis], shards: Shards) -> None:
    pipeline = shards.pipelines[0]
    results = await asyncio.gather(*(pipeline.call("INCR", "count") for _ in range(25_000)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refusal)]
    assert {refusal.reason for refusal in refused} == {"ENGINE_OVERLOADED"}
    assert await pipeline.call("GET", "count") == str(25_000 - len(refused)).encode()


async def test_a_server_that_has_become_a_replica_is_left(servers: list[Redis], shards: Shards) -> None:
    pipeline = shards.pipelines[0]
    before = await pipeline.call("CLIENT", "ID")
    await pipeline.call("REPLICAOF", "127.0.0.1", servers[1].port)
    with pytest.raises(Refusal) as refused:
        await pipeline.call("SET", "key", "value")
    assert refused.value.code is Code.UNAVAILABLE
    await pipeline.call("REPLICAOF", "NO", "ONE")
    assert await pipeline.call("CLIENT", "ID") != before
    await pipeline.call("SET", "key", "value")


# --- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [flush, restart])
async def test_the_epoch_tells_that_routes_were_lost(
    servers: list[Redis], shards: Shards, fault: Callable[[Shards, list[Redis]], Coroutine[Any, Any, None]]
) -> None:
    routes, other = RedisRoutes(shards), RedisRoutes(shards)
    user_id = someone_on(shards, 0)
    before = await routes.epoch()
    assert await other.epoch() == before
    await routes.add(user_id, "one")
    await fault(shards, servers)
    after = await other.epoch()
    assert after != before
    assert await routes.epoch() == after
    assert await routes.lookup([user_id]) == {}
    await routes.refresh("one", [user_id])
    assert await routes.lookup([user_id]) == {"one": [user_id]}


async def test_a_route_is_forgotten_unless_it_is_refreshed(shards: Shards) -> None:
    brief, lasting = RedisRoutes(shards, lifetime_seconds=0.1), RedisRoutes(shards)
    await brief.add("a", "one")
    await brief.add("b", "one")
    await lasting.refresh("one", ["b"])
    await brief.add("b", "two")

    async def forgotten() -> bool:
        return await lasting.lookup(["a", "b"]) == {"one": ["b"]}

    await eventually(forgotten)


# --- presence ---------------------------------------------------------------------------------------------------------


async def test_two_who_ask_never_both_get_a_user(servers: list[Redis]) -> None:
    parties = [Shards([server.url for server in servers]) for _ in range(2)]
    stores = [RedisPresenceStore(party) for party in parties]
    users = [f"user-{number}" for number in range(3_000)]
    await asyncio.gather(*(stores[0].beat(user_id, f"{user_id}-phone", NOW) for user_id in users))
    parts = await asyncio.gather(*(store.expire(NOW + 1, 0) for store in stores))
    gone = [user_id for part in parts for user_id in part]
    assert sorted(gone) == sorted(users)
    for party in parties:
        await party.close()


@pytest.mark.parametrize("ahead", [60_000, -60_000, 400 * 86_400_000])
async def test_servers_whose_clocks_are_apart_agree_on_who_is_silent(servers: list[Redis], ahead: int) -> None:
    parties = [Shards([server.url for server in servers]) for _ in range(2)]
    one, other = map(RedisPresenceStore, parties)
    after_30_s = 30_000 - 1
    await one.beat("a", "a-phone", NOW)
    await other.beat("b", "b-phone", NOW + ahead)
    for passed in (0, 10_000, 20_000, 29_999):
        # As every server does each second.
        assert await one.expire(NOW + passed, after_30_s) == []
        assert await other.expire(NOW + ahead + passed, after_30_s) == []
    await one.beat("a", "a-phone", NOW + 29_999)
    # Each finds the silence of those who beat at the other, and tells its own time of it.
    assert await one.expire(NOW + 30_000, after_30_s) == ["b"]
    assert await other.expire(NOW + ahead + 59_998, after_30_s) == []
    assert await other.expire(NOW + ahead + 59_999, after_30_s) == ["a"]
    found = await one.presences(["a", "b"])
    assert found["b"].last_seen_ms == NOW
    assert found["a"].last_seen_ms == NOW + ahead + 29_999
    for party in parties:
        await party.close()


async def test_a_wiped_store_is_whole_after_one_beat_of_each(shards: Shards) -> None:
    store = RedisPresenceStore(shards)
    await store.beat("a", "phone", NOW)
    await wipe(shards)
    assert not (await store.presences(["a"]))["a"].online
    assert await store.beat("a", "phone", NOW + 5_000), "so that it is announced"
    assert (await store.presences(["a"]))["a"].online


async def test_users_who_fell_silent_on_one_shard_are_found_while_another_is_away(
    servers: list[Redis], shards: Shards
) -> None:
    store = RedisPresenceStore(shards)
    await store.beat(someone_on(shards, 1), "phone", NOW)
    await servers[0].kill()
    assert await store.expire(NOW + 1, 0) == [someone_on(shards, 1)]
    with pytest.raises(Refusal):
        await store.expire(NOW + 1, 0)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("shard", [0, 1])
async def test_a_gap_is_told_of_and_news_come_again(
    servers: list[Redis],
    shards: Shards,
    news: RedisPresencePubSub,
    shard: int,
    fault: Callable[[Shards, list[Redis]], Coroutine[Any, Any, None]],
) -> None:
    """Also where the shard of the channel itself is not concerned: changes may have been lost before they were told."""
    user_id = someone_on(shards, shard)
    heard: asyncio.Queue[Presence] = asyncio.Queue()
    gap = asyncio.Event()
    await news.subscribe(user_id, heard.put_nowait, gap.set)
    await news.publish(ONLINE, [user_id])
    async with asyncio.timeout(30):
        assert await heard.get() == ONLINE
        # What a fault is measured against has been seen: the epoch is asked for as soon as the feed begins.
        for pipeline in shards.pipelines:
            await eventually(lambda pipeline=pipeline: has_epoch(shards, pipeline))  # type: ignore[misc]
        assert not gap.is_set()
        await fault(shards, servers)
        await gap.wait()
        # From the gap on everything comes.
        await news.publish(ONLINE, [user_id])
        assert await heard.get() == ONLINE


async def has_epoch(shards: Shards, pipeline: Any) -> bool:
    return bool(await pipeline.call("EXISTS", f"{shards.prefix}epoch"))


async def test_only_those_who_are_needed_are_subscribed(shards: Shards, news: RedisPresencePubSub) -> None:
    user_id = someone_on(shards, 0)

    def nothing(*_: object) -> None:
        pass

    async def channels() -> list[bytes]:
        found: list[bytes] = await shards.pipelines[0].call("PUBSUB", "CHANNELS")
        return found

    one = await news.subscribe(user_id, nothing, nothing)
    two = await news.subscribe(user_id, nothing, nothing)
    assert len(await channels()) == 1
    one()
    two()

    async def none() -> bool:
        return await channels() == []

    await eventually(none)
    heard = asyncio.Event()
    await news.subscribe(user_id, lambda _: heard.set(), nothing)
    await news.publish(ONLINE, [user_id])
    async with asyncio.timeout(10):
        await heard.wait()


# --- sign-outs --------------------------------------------------------------------------------------------------------


async def test_whoever_listens_for_sign_outs_is_told_of_a_gap(servers: list[Redis], shards: Shards) -> None:
    sign_outs = RedisSignOutPubSub(shards)
    gap = asyncio.Event()
    heard: asyncio.Queue[Mapping[str, int]] = asyncio.Queue()
    await sign_outs.subscribe(heard.put_nowait, gap.set)
    for server in servers:
        await server.kill()
        await server.start()
    async with asyncio.timeout(30):
        await gap.wait()
        await sign_outs.publish({"phone": 1})
        assert await heard.get() == {"phone": 1}
    await sign_outs.close()
