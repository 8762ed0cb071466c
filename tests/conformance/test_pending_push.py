"""Which channels wait for a decision about push."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.conformance.engines import OpenPorts, Ports
from tests.conformance.scribe import Scribe, Ticker
from tidings.core.values import Appended, EntryKind, HeadMoved, LogBatch


async def _group(ports: Ports, channel_id: str = "ga") -> Scribe:
    scribe = Scribe(ports.log, Ticker(), channel_id)
    await scribe.create("ann", "ben")
    return scribe


async def _wake(scribe: Scribe, entries: int = 1) -> None:
    batch = [replace(scribe.draft(EntryKind.MESSAGE, "ann"), seq=len(scribe.entries) + 1 + at) for at in range(entries)]
    assert await scribe.log.append(LogBatch(scribe.channel_id, tuple(batch), wakes_push=True)) == Appended()
    scribe.entries += batch


async def test_a_batch_that_wakes_is_pending_from_its_first_entry_on(ports: Ports) -> None:
    one, other = await _group(ports), await _group(ports, "gb")
    await one.send("ann")
    await other.send("ann")
    assert await ports.pending_push.channels() == {}
    await _wake(one, entries=3)
    assert await ports.pending_push.channels() == {"ga": 3}
    await _wake(other)
    assert await ports.pending_push.channels() == {"ga": 3, "gb": 3}


async def test_a_batch_that_was_not_written_wakes_nobody(ports: Ports) -> None:
    scribe = await _group(ports)
    stale = replace(scribe.draft(EntryKind.MESSAGE, "ann"), seq=9)
    assert await ports.log.append(LogBatch("ga", (stale,), wakes_push=True)) == HeadMoved()
    assert await ports.pending_push.channels() == {}


async def test_a_channel_that_waits_already_keeps_its_earlier_seq(ports: Ports) -> None:
    # A new sequencer does not know yet that the channel waits.
    scribe = await _group(ports)
    await _wake(scribe)
    await _wake(scribe)
    assert await ports.pending_push.channels() == {"ga": 2}


async def test_a_decision_moves_on_or_ends_the_wait(ports: Ports) -> None:
    scribe = await _group(ports)
    await _wake(scribe, entries=5)
    await ports.pending_push.decided("ga", 4)
    assert await ports.pending_push.channels() == {"ga": 4}
    await ports.pending_push.decided("ga", None)
    assert await ports.pending_push.channels() == {}
    await ports.pending_push.decided("ga", None)
    await _wake(scribe)
    assert await ports.pending_push.channels() == {"ga": 7}


async def test_what_waits_still_waits_after_the_storage_was_closed(engine: OpenPorts, tmp_path: Path) -> None:
    async with engine(tmp_path / "again") as ports:
        await _wake(await _group(ports))
    async with engine(tmp_path / "again") as ports:
        assert await ports.pending_push.channels() == {"ga": 2}
