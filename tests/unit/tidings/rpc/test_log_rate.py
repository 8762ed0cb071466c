"""What libraries log of what clients sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial

import pytest
from grpc import aio

from tests.support.clock import FakeClock
from tests.support.http2 import CHECK, Http2, is_well
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.log_rate import LogRate, guard_library_logs
from tidings.rpc.server import GrpcServer
from tidings.rpc.tokens import Revocations, TokenVerifier

TOKEN = "eyJ" + "secret" * 10


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [100.0]
    monkeypatch.setattr("tidings.rpc.log_rate.monotonic", lambda: seconds[0])
    return seconds


def test_one_line_a_second_of_each_kind(now: list[float]) -> None:
    rate = LogRate()
    assert [rate.unsaid("a"), rate.unsaid("b"), rate.unsaid("a"), rate.unsaid("a")] == [0, 0, None, None]
    now[0] += 1.0
    assert [rate.unsaid("a"), rate.unsaid("a"), rate.unsaid("b")] == [2, None, 0]


def test_kinds_are_not_kept_without_a_bound() -> None:
    rate = LogRate()
    for n in range(10_000):
        assert rate.unsaid(n) == 0
    assert len(rate._kinds) <= 1_000


async def test_headers_that_are_not_utf_8(now: list[float], caplog: pytest.LogCaptureFixture) -> None:
    server = GrpcServer([CallInterceptor(TokenVerifier({}, FakeClock(), Revocations(FakeClock(), 1)))])
    endpoint = await server.start("127.0.0.1:0")
    async with await Http2.connect(endpoint) as http:
        for header in ("authorization", "x-other", "user-agent", "te-\xff"):
            for _ in range(20):
                call = await http.call(CHECK, [(header, f"Bearer {TOKEN}".encode() + b"\xff")])
                await call.message(b"", end=True)
                await call.status()
    assert await is_well(endpoint)
    await server.stop(0)
    assert "Invalid encoding" in caplog.text
    assert TOKEN[:20] not in caplog.text
    assert "Traceback" not in caplog.text
    assert len(caplog.records) == 1


async def test_what_asyncio_says_of_exceptions(caplog: pytest.LogCaptureFixture) -> None:
    guard_library_logs()

    def fail(*_: object) -> None:
        raise ValueError(TOKEN)

    async def fail_too() -> None:
        fail()

    loop = asyncio.get_running_loop()
    loop.call_soon(partial(fail, TOKEN), TOKEN)
    task = loop.create_task(fail_too(), name=TOKEN)
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)
    assert "Exception in callback" in caplog.text
    assert "never retrieved" in caplog.text
    assert "in fail_too" in caplog.text
    assert TOKEN not in caplog.text


@pytest.fixture(autouse=True)
def fresh_filter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What other tests have provoked does not count."""
    from tidings.rpc import log_rate

    monkeypatch.setattr(log_rate._filter, "_rate", LogRate())
    yield


def test_that_a_client_is_gone_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    guard_library_logs()
    try:
        raise aio.InternalError("Failed execute_batch")
    except aio.InternalError:
        logging.getLogger("grpc._cython.cygrpc").exception(
            "ExecuteBatchError raised in core by servicer method [%s]", ""
        )
    assert caplog.records == []
