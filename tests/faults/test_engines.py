"""The real engines as processes: they start, answer their clients, keep what they acknowledged, and end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aetcd
import psutil
import pytest
from cassandra.cluster import Session
from redis.asyncio import Redis as RedisClient

from tests.support.engines import SOON_UP, CassandraSpace, EtcdSpace, RedisSpace, cassandra_cluster
from tidings_server.cluster import Cassandra, Engine, EngineError, Etcd, Redis
from tidings_server.cluster.loopback import is_free


async def test_etcd_answers_its_client(etcd: EtcdSpace) -> None:
    async with etcd.client() as client:
        await client.put(f"{etcd.prefix}a".encode(), b"1")
        read = await client.get(f"{etcd.prefix}a".encode())
    assert read is not None and read.value == b"1"


async def version(space: EtcdSpace) -> str:
    """What an etcd says that it is."""
    async with space.client() as client:
        return str((await client.status()).version)


async def test_etcd_is_the_one_that_is_pinned_and_debians_another(etcd: EtcdSpace, debians_etcd: EtcdSpace) -> None:
    pins = (Path(__file__).parents[2] / "tools/etcd/go.mod").read_text()
    assert f"go.etcd.io/etcd/server/v3 v{await version(etcd)} " in pins
    assert f"go.etcd.io/etcd/server/v3 v{await version(debians_etcd)} " not in pins


async def test_redis_answers_its_client_from_the_tests_own_database(redis: RedisSpace) -> None:
    async with RedisClient.from_url(redis.url) as client:
        assert await client.dbsize() == 0
        await client.set("a", "1")
        assert await client.get("a") == b"1"
        assert (await client.config_get("appendonly"))["appendonly"] == "no"


async def test_cassandra_answers_its_client(cassandra: CassandraSpace) -> None:
    def round_trip() -> list[bool]:
        with cassandra.cluster() as cluster, cluster.connect() as session:
            make_table(session, cassandra.keyspace)
            insert = f"INSERT INTO {cassandra.keyspace}.log (channel, seq) VALUES (1, 1) IF NOT EXISTS"
            return [session.execute(insert).was_applied for _ in range(2)]

    assert await asyncio.to_thread(round_trip) == [True, False]


async def test_each_test_has_its_own_part(etcd: EtcdSpace, redis: RedisSpace, durable_redis: RedisSpace) -> None:
    assert etcd.prefix.strip("/") != redis.prefix.strip(":")
    assert redis.database != durable_redis.database
    assert redis.address != durable_redis.address


async def test_etcd_killed_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    async with Etcd(tmp_path / "etcd") as engine:
        async with aetcd.Client("127.0.0.1", engine.port) as client:
            await client.put(b"a", b"1")
        before = engine.address
        await engine.kill()
        await engine.start()
        assert engine.address == before
        async with aetcd.Client("127.0.0.1", engine.port) as client:
            read = await client.get(b"a")
    assert read is not None and read.value == b"1"


async def test_durable_redis_killed_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    async with Redis(tmp_path / "redis", durable=True) as engine:
        async with RedisClient.from_url(engine.url) as client:
            await client.set("a", "1")
        await engine.kill()
        await engine.start()
        async with RedisClient.from_url(engine.url) as client:
            assert await client.get("a") == b"1"


async def test_redis_for_soft_state_comes_back_empty(tmp_path: Path) -> None:
    async with Redis(tmp_path / "redis") as engine:
        async with RedisClient.from_url(engine.url) as client:
            await client.set("a", "1")
        await engine.stop()
        await engine.start()
        async with RedisClient.from_url(engine.url) as client:
            assert await client.get("a") is None


async def test_cassandra_killed_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    async with Cassandra(tmp_path / "cassandra", options=SOON_UP) as engine:

        def write() -> None:
            with cassandra_cluster(engine.port) as cluster, cluster.connect() as session:
                make_table(session, "kept")
                for seq in range(100):
                    session.execute(f"INSERT INTO kept.log (channel, seq) VALUES (1, {seq}) IF NOT EXISTS")

        def read() -> list[int]:
            with cassandra_cluster(engine.port) as cluster, cluster.connect() as session:
                return [row.seq for row in session.execute("SELECT seq FROM kept.log WHERE channel = 1")]

        await asyncio.to_thread(write)
        await engine.kill()
        await engine.start()
        assert await asyncio.to_thread(read) == list(range(100))
    assert not engine.running


Make = Callable[[Path], Etcd | Redis]


@pytest.mark.parametrize("make", [Etcd, Redis])
async def test_stop_ends_the_process_and_frees_its_port(make: Make, tmp_path: Path) -> None:
    engine = make(tmp_path / "engine")
    await engine.start()
    pid = engine.pid
    await engine.stop()
    assert not engine.running
    assert not psutil.pid_exists(pid)
    with socket.socket() as attempt, pytest.raises(ConnectionRefusedError):
        attempt.connect(("127.0.0.1", engine.port))


async def test_a_paused_one_is_stopped(tmp_path: Path) -> None:
    engine = await Redis(tmp_path / "redis").start()
    engine.signal(signal.SIGSTOP)
    await engine.stop()
    assert not engine.running


async def test_wait_ends_with_the_process_on_another_loop(tmp_path: Path) -> None:
    engine = await Redis(tmp_path / "redis").start()
    waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, engine.wait()))
    await engine.kill()
    await waiting
    assert not engine.running


async def test_a_second_start_on_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    async with Redis(tmp_path / "redis") as engine:
        with pytest.raises(EngineError, match=f"runs already on .*, as process {engine.pid}"):
            await Redis(tmp_path / "redis").start()


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    async with Redis(tmp_path / "one") as engine:
        with pytest.raises(EngineError, match=f"cannot listen at port {engine.port}"):
            await Redis(tmp_path / "two", port=engine.port).start()


async def test_a_port_once_given_is_nobody_elses_while_its_engine_is_down(tmp_path: Path) -> None:
    engine = await Redis(tmp_path / "redis").start()
    await engine.stop()
    assert is_free(engine.port)
    with socket.socket(socket.AF_UNIX) as claim, pytest.raises(OSError, match="in use"):
        claim.bind(f"\0tidings-port-{engine.port}")


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (lambda folder: Redis(folder, databases=0), "Redis ended with code 1 instead of starting: argument must be"),
        (lambda folder: Cassandra(folder, heap="x"), "Cassandra ended with code 1 instead of starting: Error: .*exit"),
    ],
)
async def test_one_that_ends_instead_of_starting_tells_why(
    engine: Callable[[Path], Engine], why: str, tmp_path: Path
) -> None:
    made = engine(tmp_path / "engine")
    with pytest.raises(EngineError, match=why):
        await made.start()
    assert not made.running


async def test_of_many_last_words_the_error_is_told(tmp_path: Path) -> None:
    made = Etcd(tmp_path / "etcd")
    (made.folder / "data").parent.mkdir()
    (made.folder / "data").write_text("not a folder")
    with pytest.raises(EngineError, match=r"etcd ended with code 1 instead of starting: .*not a directory"):
        await made.start()


async def test_one_that_is_not_installed_tells_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"jars are not in .*: run scripts/install-engines"):
        await Cassandra(tmp_path / "cassandra", jars=tmp_path).start()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="etcd is not on PATH: install Debian's etcd-server"):
        await Etcd(tmp_path / "etcd", binary=tmp_path / "not built").start()


START = """
import asyncio, sys
from pathlib import Path
from tidings_server.cluster import Redis

asyncio.run(Redis(Path(sys.argv[1]), detach=sys.argv[2] == "detached").start())
print("started", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def started_elsewhere(folder: Path, how: str) -> AsyncIterator[Redis]:
    """A Redis started by another process, which is killed when the block ends."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, str(folder), how, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert owner.stdout is not None
        assert await owner.stdout.readline() == b"started\n"
        yield Redis(folder)
    finally:
        owner.kill()
        await owner.wait()


async def test_a_detached_one_outlives_its_owner_and_is_found_by_the_next(tmp_path: Path) -> None:
    async with started_elsewhere(tmp_path / "redis", "detached") as engine:
        assert engine.running
    async with RedisClient.from_url(engine.url) as client:
        assert await client.ping()
    await engine.stop()
    assert not engine.running
    assert not Redis(tmp_path / "redis").running


async def test_another_ends_with_its_owner_though_that_was_killed(tmp_path: Path) -> None:
    async with started_elsewhere(tmp_path / "redis", "owned") as engine:
        assert engine.running
    async with asyncio.timeout(10):
        await engine.wait()
    assert not engine.running


def make_table(session: Session, keyspace: str) -> None:
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}")
    session.execute(f"CREATE TABLE {keyspace}.log (channel int, seq int, PRIMARY KEY (channel, seq))")
