"""What systemd is told, over a socket as systemd has it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import start_tidings
from tests.support.providers.certificates import make_certificate
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.server import GrpcServer
from tidings_server.certificates import internal_certificate, public_certificate, to_ourselves
from tidings_server.settings import load
from tidings_server.watchdog import Listener, ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


async def said(systemd: socket.socket) -> str:
    async with asyncio.timeout(20):
        return (await asyncio.get_running_loop().sock_recv(systemd, 1_000)).decode()


async def test_a_listener_that_answers(systemd: socket.socket) -> None:
    server = GrpcServer([CallInterceptor(None)])
    listener = Listener(await server.start("127.0.0.1:0"), None)
    assert await listener.answers()
    server.drain()
    assert await listener.answers()
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "200000"})
    watching = asyncio.create_task(manager.watch([listener]))
    assert [await said(systemd), await said(systemd)] == ["WATCHDOG=1"] * 2
    watching.cancel()
    await server.stop(0)
    assert not await listener.answers()


async def test_one_listener_that_does_not_answer_is_enough(systemd: socket.socket) -> None:
    server = GrpcServer([CallInterceptor(None)])
    # It takes connections, and says nothing.
    silent = await asyncio.start_server(lambda _, writer: None, "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    silent.close()
    listeners = [Listener(await server.start("127.0.0.1:0"), None), Listener(address, None)]
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "100000"})
    watching = asyncio.create_task(manager.watch(listeners))
    done, _ = await asyncio.wait([watching], timeout=0.5)
    assert not done
    with pytest.raises(BlockingIOError):
        systemd.recv(1_000)
    watching.cancel()
    await server.stop(0)


@pytest.mark.parametrize("internal", [False, True])
async def test_listeners_with_tls(tmp_path: Path, internal: bool) -> None:
    certificate, key = make_certificate(tmp_path)
    files = {"certificate": str(certificate), "private_key": str(key), "authority": str(certificate)}
    settings = load(None, tls_certificate=str(certificate), tls_private_key=str(key), internal_tls=files)
    shown = internal_certificate(settings) if internal else public_certificate(settings)
    server = GrpcServer([CallInterceptor(None)])
    listener = Listener(await server.start("127.0.0.1:0", shown), to_ourselves(settings, internal=internal))
    assert await listener.answers()
    await server.stop(0)


def test_without_systemd_nothing_is_told() -> None:
    manager = ServiceManager({})
    manager.tell("READY=1")
    assert manager.interval is None
    assert ServiceManager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).interval is None


@pytest.mark.parametrize(
    ("address", "url"),
    [("0.0.0.0:1", "http://127.0.0.1:1"), ("[::]:1", "http://[::1]:1"), ("10.1.2.3:1", "http://10.1.2.3:1")],
)
def test_where_it_asks(address: str, url: str) -> None:
    assert Listener(address, None).url == f"{url}/grpc.health.v1.Health/Check"


async def test_a_server_tells_what_it_does(systemd: socket.socket, tmp_path: Path) -> None:
    process = await start_tidings(
        "serve",
        *("--listen", "127.0.0.1:0", "--data", tmp_path / "data"),
        environment={"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"},
    )
    assert [await said(systemd), await said(systemd)] == ["READY=1", "WATCHDOG=1"]
    process.terminate()
    while (state := await said(systemd)) == "WATCHDOG=1":
        pass
    assert state == "STOPPING=1"
    _, log = await process.communicate()
    assert (process.returncode, b"Traceback" in log, b"HTTP Request" in log) == (0, False, False)


async def test_too_few_files_for_the_capacity(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("capacity = 100000000\n")
    process = await start_tidings(
        "serve", *("--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--config", config)
    )
    assert process.stdout is not None
    await process.stdout.readline()
    soft, hard = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard
    process.terminate()
    _, log = await process.communicate()
    assert log.count(b"capacity = 100000000 needs 100000500") == 1
