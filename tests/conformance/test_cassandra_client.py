"""The connection to Cassandra: tables made once by many, answers of any size, and clear refusals."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from cassandra import OperationTimedOut

from tests.conformance.engines import CassandraEngine
from tests.support.clock import FakeClock
from tests.support.engines import CassandraSpace
from tests.support.unreliable import unreliable
from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.driver import CassandraSettings
from tidings.backends.cassandra.migrations import CassandraError, migrate
from tidings.core.errors import Code, Refusal

ADD = Statement("INSERT INTO mutes (channel_id, user_id) VALUES (?, ?)")
TAKE = Statement("INSERT INTO mutes (channel_id, user_id) VALUES (?, ?) IF NOT EXISTS", conditional=True)
ALL = Statement("SELECT user_id FROM mutes WHERE channel_id = ?", fetch_size=7)

PUT = Statement("INSERT INTO log (channel_id, bucket, seq, body) VALUES (?, 0, ?, ?)")
BODIES = Statement("SELECT body FROM log WHERE channel_id = ? AND bucket = 0 ORDER BY seq ASC")

on_cassandra = pytest.mark.parametrize("engine", ["cassandra"], indirect=True, scope="session")


async def test_many_who_start_at_the_same_time_make_the_tables_once(cassandra: CassandraSpace) -> None:
    settings = CassandraSettings((cassandra.address,), cassandra.keyspace)
    opened = await asyncio.gather(*(CassandraClient.open(settings) for _ in range(3)))
    numbers = await opened[0].execute(Statement("SELECT number FROM migrations"))
    assert (1,) in numbers
    assert await opened[1].execute(Statement("SELECT * FROM migration_lock")) == []
    for each in opened:
        await each.execute(ADD, ("ga", str(opened.index(each))))
    assert await opened[0].execute(ALL, ("ga",)) == [("0",), ("1",), ("2",)]

    # What a newer tidings has made is left alone.
    await opened[0].execute(Statement("INSERT INTO migrations (number) VALUES (9999)"))
    with pytest.raises(CassandraError, match="newer"):
        await CassandraClient.open(settings)
    for each in opened:
        await each.close()


async def test_nobody_there_is_an_error_for_the_operator() -> None:
    with pytest.raises(CassandraError, match=r"127\.0\.0\.1:1 cannot be used"):
        await CassandraClient.open(CassandraSettings(("127.0.0.1:1",), request_seconds=2))


@on_cassandra
async def test_settings_that_make_no_sense_are_refused(engine: CassandraEngine) -> None:
    for settings in (
        replace(engine.settings, keyspace="No Name"),
        replace(engine.settings, addresses=("127.0.0.1:9042", "127.0.0.2:9043")),
        replace(engine.settings, consistency="MOST"),
    ):
        with pytest.raises(CassandraError):
            await CassandraClient.open(settings)


@on_cassandra
async def test_a_cassandra_that_is_slow_to_begin_with_is_tried_again(
    engine: CassandraEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def slow_at_first(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OperationTimedOut
        migrate(*arguments)

    monkeypatch.setattr("tidings.backends.cassandra.driver.migrate", slow_at_first)
    cassandra = await CassandraClient.open(engine.settings)
    assert tries == 2
    assert await cassandra.execute(ALL, ("nobody",)) == []
    await cassandra.close()


@on_cassandra
async def test_requests_larger_than_the_network_takes_at_once_arrive_whole(engine: CassandraEngine) -> None:
    cassandra = await CassandraClient.open(engine.settings)
    bodies = [bytes([number]) * 500_000 for number in range(20)]
    await asyncio.gather(*(cassandra.execute(PUT, ("large", seq, body)) for seq, body in enumerate(bodies)))
    assert [body for (body,) in await cassandra.execute(BODIES, ("large",))] == bodies
    await cassandra.close()


@on_cassandra
async def test_an_answer_of_many_pages_comes_whole(engine: CassandraEngine) -> None:
    cassandra = await CassandraClient.open(engine.settings)
    users = [f"{number:02}" for number in range(50)]
    await cassandra.batch([(ADD, ("pages", each)) for each in users])
    assert await cassandra.execute(ALL, ("pages",)) == [(each,) for each in users]
    await cassandra.close()


@on_cassandra
async def test_a_condition_says_whether_it_was_met(engine: CassandraEngine) -> None:
    cassandra = await CassandraClient.open(engine.settings)
    await cassandra.execute(Statement("DELETE FROM mutes WHERE channel_id = ?"), ("condition",))
    assert await cassandra.execute(TAKE, ("condition", "ann")) == [(True,)]
    ((applied, *_),) = await cassandra.execute(TAKE, ("condition", "ann"))
    assert not applied
    ((applied, *_),) = await cassandra.batch(
        [(TAKE, ("condition", "ann")), (ADD, ("condition", "ben"))], conditional=True
    )
    assert not applied
    assert await cassandra.execute(ALL, ("condition",)) == [("ann",)]
    await cassandra.close()


@on_cassandra
async def test_no_more_requests_are_under_way_than_allowed(engine: CassandraEngine) -> None:
    cassandra, session = await unreliable(replace(engine.settings, in_flight=2))
    most = under_way = 0

    def counted(cql: str) -> bool:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        return False

    async def read() -> None:
        nonlocal under_way
        await cassandra.execute(ALL, ("ga",))
        under_way -= 1

    await read()
    under_way = 0
    session.concerns = counted
    await asyncio.gather(*(read() for _ in range(50)))
    assert most == 2
    await cassandra.close()


@on_cassandra
async def test_no_answer_is_a_refusal_that_says_when_to_try_again(engine: CassandraEngine) -> None:
    cassandra, session = await unreliable(engine.settings)
    session.concerns = lambda cql: True
    with pytest.raises(Refusal) as refused:
        await cassandra.execute(ADD, ("ga", "ann"))
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.retry_after is not None
    session.recover()
    await cassandra.close()
    with pytest.raises(Refusal):
        await cassandra.execute(ADD, ("ga", "ann"))


@on_cassandra
async def test_a_mistake_of_ours_is_no_refusal(engine: CassandraEngine) -> None:
    cassandra = await CassandraClient.open(engine.settings)
    with pytest.raises(Exception, match="no_such_table"):
        await cassandra.execute(Statement("SELECT * FROM no_such_table"))
    await cassandra.close()


@on_cassandra
async def test_who_gives_up_waiting_harms_nobody_else(engine: CassandraEngine) -> None:
    cassandra = await CassandraClient.open(engine.settings)
    # Both wait for the same statement to be prepared.
    impatient, patient = (asyncio.create_task(cassandra.execute(ALL, ("nobody",))) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == []
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await cassandra.close()


async def test_users_from_before_there_were_search_keys_are_found_by_them(cassandra: CassandraSpace) -> None:
    settings = CassandraSettings((cassandra.address,), cassandra.keyspace)
    client = await CassandraClient.open(settings)
    await client.execute(
        Statement(
            "INSERT INTO accounts (user_id, username, display_name, about, created_at_ms, names)"
            " VALUES ('u-old', 'x-old', 'Ömer Çelik', '', 1, 3)"
        )
    )
    await client.execute(
        Statement(
            "INSERT INTO name_prefixes (prefix, shard, username, user_id, display_name)"
            " VALUES ('x-old', '', 'x-old', 'u-old', 'ömer çelik') USING TIMESTAMP 3"
        )
    )
    await client.execute(Statement("DELETE FROM migrations WHERE number = 6"))
    await client.close()
    client = await CassandraClient.open(settings)
    store = CassandraAccountStore(client, FakeClock())
    for prefix in ("om", "omer c", "x-old"):
        assert [each.username for each in await store.search(prefix, "", 5, "u-x")] == ["x-old"], prefix
    await store.update_profile("u-old", "Someone", None)
    assert await store.search("omer", "", 5, "u-x") == []
    assert [each.username for each in await store.search("someone", "", 5, "u-x")] == ["x-old"]
    await client.close()
