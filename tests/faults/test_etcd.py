"""etcd killed, paused, forgetful; leases that run out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aetcd
import psutil
import pytest

from tests.support.waiting import eventually
from tidings.backends.etcd.client import EtcdClient
from tidings.backends.etcd.registry import EtcdRegistry
from tidings.backends.etcd.worker_ids import EtcdWorkerIds
from tidings.core.errors import Code, Refusal
from tidings.core.values import Server, ServerKind
from tidings_server.cluster import Etcd as EtcdProcess

CHAT = ServerKind.CHAT
LEASE_SECONDS = 2
ONE = Server("one", CHAT, "10.0.0.1:7000", "eu-central", 0.25, 50.1, 8.7, internal="10.0.0.1:7100")
TWO = Server("two", CHAT, "10.0.0.2:7000", "eu-central", 0.5, 50.1, 8.7)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EtcdProcess]:
    server = EtcdProcess(tmp_path / "etcd")
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def client(server: EtcdProcess) -> AsyncIterator[EtcdClient]:
    client = EtcdClient([server.address])
    yield client
    await client.close()


@asynccontextmanager
async def registry(client: EtcdClient, again: Callable[[], None] = lambda: None) -> AsyncIterator[EtcdRegistry]:
    registry = EtcdRegistry(client, again, lease_seconds=LEASE_SECONDS)
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()


async def shows(registry: EtcdRegistry, expected: Sequence[Server]) -> None:
    async with asyncio.timeout(20):
        async for view in registry.watch(CHAT):
            if list(view) == list(expected):
                return


async def stop(server: EtcdProcess) -> None:
    """Pauses it; the signal alone takes a moment."""
    server.signal(signal.SIGSTOP)

    async def stands() -> bool:
        return bool(psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)

    await eventually(stands)


async def answers(client: EtcdClient) -> bool:
    try:
        await client.get(client.prefix)
    except Refusal:
        return False
    return True


async def keys(client: EtcdClient) -> list[bytes]:
    return [key for key, _ in (await client.get(client.prefix))[1]]


async def leases(server: EtcdProcess) -> set[int]:
    """The leases that any key is under."""
    async with aetcd.Client("127.0.0.1", server.port) as raw:
        return {each.lease for each in await raw.get_prefix(b"/")}


def value(server: Server) -> bytes:
    return json.dumps(dataclasses.asdict(server)).encode()


class Watched:
    """Every view that a registry has had of the chat servers."""

    def __init__(self, registry: EtcdRegistry) -> None:
        self.views: list[list[str]] = []
        self._task = asyncio.create_task(self._watch(registry))

    async def _watch(self, registry: EtcdRegistry) -> None:
        async for view in registry.watch(CHAT):
            self.views.append([server.server_id for server in view])

    def stop(self) -> list[list[str]]:
        self._task.cancel()
        return self.views


async def test_the_view_answers_while_etcd_is_away_and_follows_when_it_is_back(
    server: EtcdProcess, client: EtcdClient
) -> None:
    async with registry(client) as first, registry(client) as second:
        await first.register(ONE)
        await shows(second, [ONE])
        watched = Watched(second)
        await server.kill()
        busier = replace(ONE, load=0.9)
        with pytest.raises(Refusal) as refused:
            await first.register(busier)
        assert refused.value.code is Code.UNAVAILABLE
        assert list(second.servers(CHAT)) == [ONE]
        await server.start()
        # What was refused is made up for without being said again.
        await shows(second, [busier])
        await second.register(TWO)
        await shows(first, [busier, TWO])
        assert all("one" in view for view in watched.stop())


async def test_nobody_leaves_the_view_when_all_leases_ran_out_because_etcd_stood(
    server: EtcdProcess, client: EtcdClient
) -> None:
    again = asyncio.Event()
    async with registry(client, again.set) as first, registry(client) as second:
        await first.register(ONE)
        await second.register(TWO)
        await shows(second, [ONE, TWO])
        watched = Watched(second)
        await stop(server)
        # It stands for longer than the leases last: that long it takes until two calls have not been answered.
        for _ in range(2):
            with pytest.raises(Refusal):
                await client.get(client.prefix)
        server.signal(signal.SIGCONT)
        async with asyncio.timeout(20):
            await again.wait()
        await shows(second, [ONE, TWO])
        assert all(view == ["one", "two"] for view in watched.stop())
        assert list(first.servers(CHAT)) == [ONE, TWO]


async def test_a_process_whose_lease_ran_out_registers_again_and_is_told(
    server: EtcdProcess, client: EtcdClient
) -> None:
    again = asyncio.Event()
    async with registry(client, again.set) as first, registry(client) as second:
        await first.register(ONE)
        await first.register(replace(ONE, kind=ServerKind.API))
        await shows(second, [ONE])
        before = await keys(client)
        # As for one that was paused: its lease is gone, and it does not know.
        async with asyncio.timeout(20):
            for lease in await leases(server):
                await client.revoke(lease)
            await again.wait()
        assert await keys(client) == before
        await shows(second, [ONE])


async def test_a_process_that_was_paused_for_longer_than_its_lease(server: EtcdProcess, client: EtcdClient) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.registrant",
        server.address,
        str(LEASE_SECONDS),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40), registry(client) as others:
            first = await process.stdout.readline()
            assert first.startswith(b"worker id ")
            assert [each.server_id for each in others.servers(CHAT)] == ["paused"]
            process.send_signal(signal.SIGSTOP)
            await shows(others, [])

            async def worker_id_is_free() -> bool:
                return await keys(client) == []

            await eventually(worker_id_is_free)
            process.send_signal(signal.SIGCONT)
            said = {await process.stdout.readline(), await process.stdout.readline()}
            assert said == {b"worker id lost\n", b"registered again\n"}
            assert await keys(client) == [b"/tidings/servers/chat/paused"]
    finally:
        process.kill()
        await process.wait()


async def test_etcd_that_has_lost_its_data_is_told_all_again(server: EtcdProcess, tmp_path: Path) -> None:
    client = EtcdClient([server.address])
    again = asyncio.Event()
    async with registry(client, again.set) as first, registry(client) as second:
        await first.register(ONE)
        await shows(second, [ONE])
        watched = Watched(second)
        await server.kill()
        (server.folder / "data").rename(tmp_path / "lost")
        await server.start()
        async with asyncio.timeout(20):
            await again.wait()
        await shows(second, [ONE])
        assert await keys(client) == [b"/tidings/servers/chat/one"]
        assert [] not in watched.stop()
    await client.close()


async def test_a_process_that_died_is_out_of_the_view_when_its_lease_is_over(client: EtcdClient) -> None:
    async with registry(client) as registry_:
        dead = await client.grant(1)
        await client.put(b"/tidings/servers/chat/dead", value(replace(ONE, server_id="dead")), dead)
        await shows(registry_, [replace(ONE, server_id="dead")])
        await shows(registry_, [])


async def test_what_is_not_understood_is_left_alone(client: EtcdClient) -> None:
    async with registry(client) as registry_:
        lease = await client.grant(60)
        newer = value(TWO)[:-1] + b', "colour": "green"}'
        await client.put(b"/tidings/servers/chat/odd", b"{", lease)
        await client.put(b"/tidings/servers/chat/older", b'{"server_id": "older", "kind": 1}', lease)
        await client.put(b"/tidings/servers/chat/two", newer, lease)
        await shows(registry_, [TWO])


async def test_a_watch_from_a_revision_that_was_compacted_ends(server: EtcdProcess, client: EtcdClient) -> None:
    lease = await client.grant(60)
    for number in range(5):
        await client.put(b"/tidings/key", str(number).encode(), lease)
    revision, _ = await client.get(b"/tidings/")
    async with aetcd.Client("127.0.0.1", server.port) as raw:
        await raw.compact(revision)
    async with asyncio.timeout(10):
        assert [changes async for changes in client.watch(b"/tidings/", 1)] == []


async def test_a_member_that_is_away_is_passed_over(server: EtcdProcess, tmp_path: Path) -> None:
    away = EtcdProcess(tmp_path / "away")
    await away.start()
    await away.kill()
    client = EtcdClient([away.address, server.address])
    async with registry(client) as registry_:
        await registry_.register(ONE)
        await shows(registry_, [ONE])
    await client.close()


async def test_without_etcd_there_is_no_start_but_it_goes_on_trying(server: EtcdProcess, client: EtcdClient) -> None:
    await server.kill()
    registry_ = EtcdRegistry(client, lease_seconds=LEASE_SECONDS)
    with pytest.raises(Refusal):
        await registry_.start()
    with pytest.raises(Refusal):
        await registry_.register(ONE)
    await server.start()
    await shows(registry_, [ONE])
    await registry_.close()


async def test_who_leaves_in_order_is_gone_at_once(client: EtcdClient) -> None:
    async with registry(client) as second:
        async with registry(client) as first:
            await first.register(ONE)
            await shows(second, [ONE])
        assert await keys(client) == []
        await shows(second, [])


async def test_a_worker_id_whose_lease_ran_out_is_lost_once_and_another_can_be_taken(
    server: EtcdProcess, client: EtcdClient
) -> None:
    worker_ids = EtcdWorkerIds(client, "one", lease_seconds=LEASE_SECONDS)
    losses: asyncio.Queue[str] = asyncio.Queue()
    await worker_ids.take(lambda: losses.put_nowait("first"))
    for lease in await leases(server):
        await client.revoke(lease)
    async with asyncio.timeout(20):
        assert await losses.get() == "first"
    worker_id = await worker_ids.take(lambda: losses.put_nowait("second"))
    assert await keys(client) == [f"/tidings/numbers/{worker_id}".encode()]
    await worker_ids.release()
    assert losses.empty()


async def test_a_worker_id_is_kept_while_etcd_is_away(server: EtcdProcess, client: EtcdClient) -> None:
    worker_ids = EtcdWorkerIds(client, "one", lease_seconds=LEASE_SECONDS)
    lost = asyncio.Event()
    worker_id = await worker_ids.take(lost.set)
    await server.kill()
    # For longer than the lease lasts.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LEASE_SECONDS + 1):
            await lost.wait()
    await server.start()
    await eventually(lambda: answers(client))
    others = [EtcdWorkerIds(client, str(other), lease_seconds=LEASE_SECONDS) for other in range(20)]
    taken = await asyncio.gather(*(other.take(lost.set) for other in others))
    assert len({worker_id, *taken}) == 21
    assert not lost.is_set()
    await asyncio.gather(*(each.release() for each in (worker_ids, *others)))
