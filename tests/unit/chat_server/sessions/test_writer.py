"""When streams are written to: quiet ones at once, busy ones after an interval that grows with their number."""

from __future__ import annotations

import asyncio

import pytest

from chat_server.sessions.session import Session
from chat_server.sessions.writer import A_WRITER, LONGEST, Pacer, Writer
from tidings.core.limits import SessionLimits
from tidings.core.values import Identity


def written(pacer: Pacer, streams: int, now: float, last_round: int = 0) -> int:
    """Counts a frame to each of some streams; returns the round."""
    rounds = [pacer.count(last_round, now) for _ in range(streams)]
    return rounds[-1]


@pytest.mark.parametrize("streams", [1, 10, 100])
def test_the_interval_grows_with_the_streams(streams: int) -> None:
    pacer = Pacer()
    written(pacer, streams, now=1.0)
    assert pacer.interval == pytest.approx(streams * A_WRITER)


def test_the_interval_has_a_bound() -> None:
    pacer = Pacer()
    written(pacer, 5_000, now=1.0)
    assert pacer.interval == LONGEST


def test_a_stream_counts_once_a_round() -> None:
    pacer = Pacer()
    this_round = pacer.count(0, 1.0)
    for n in range(10):
        this_round = pacer.count(this_round, 1.0 + n / 1000)
    assert pacer.interval == pytest.approx(A_WRITER)


def test_the_round_before_decides_and_is_forgotten() -> None:
    pacer = Pacer()
    last = written(pacer, 100, now=1.0)
    last = pacer.count(last, 1.0 + LONGEST)
    assert pacer.interval == pytest.approx(100 * A_WRITER)
    last = pacer.count(last, 1.0 + 2 * LONGEST)
    assert pacer.interval == pytest.approx(A_WRITER)
    written(pacer, 100, now=2.0, last_round=last)
    pacer.count(0, 9.0)
    assert pacer.interval == pytest.approx(A_WRITER)


class Stream:
    """What was written to a stream; a write ends when it is told to."""

    def __init__(self, pacer: Pacer) -> None:
        self.frames: list[bytes] = []
        self.arrived = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.open.set()
        writer = Writer(pacer, self._write)
        self.session = Session("s", Identity("ann", "phone", 1 << 62), SessionLimits(), writer.wake)

    async def _write(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.arrived.release()
        await self.open.wait()


async def test_a_quiet_stream_is_written_to_at_once_and_a_busy_one_gets_the_rest_together() -> None:
    # An interval that no test lives to see: only what is written at once arrives.
    stream = Stream(Pacer(longest=3600.0, a_writer=3600.0))
    stream.session.send(b"1")
    await stream.arrived.acquire()
    stream.session.send(b"2")
    stream.session.send(b"3")
    for _ in range(10):
        await asyncio.sleep(0)
    assert stream.frames == [b"1"]
    assert stream.session.outbox.events == 2

    stream = Stream(Pacer(longest=0.002, a_writer=0.002))
    for frame in (b"1", b"2", b"3"):
        stream.session.send(frame)
        if frame == b"1":
            await stream.arrived.acquire()
    await stream.arrived.acquire()
    assert stream.frames == [b"1", b"23"]


async def test_what_comes_while_a_write_is_under_way_is_written_after_it() -> None:
    stream = Stream(Pacer())
    stream.open.clear()
    stream.session.send(b"1")
    await stream.arrived.acquire()
    stream.session.send(b"2")
    stream.session.send(b"3")
    for _ in range(10):
        await asyncio.sleep(0)
    assert stream.frames == [b"1"]
    stream.open.set()
    await stream.arrived.acquire()
    assert stream.frames == [b"1", b"23"]
