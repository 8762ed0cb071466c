"""What operators are told of a clock that is wrong."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from tests.support.clock import FakeClock
from tidings.core.positions import Positions, at
from tidings_server.clock_watch import ClockWatch


class Scene:
    def __init__(self, caplog: pytest.LogCaptureFixture, ahead_seconds: float = 0.0) -> None:
        self.clock = FakeClock()
        self._caplog = caplog
        self._registry = CollectorRegistry()
        positions = Positions(self.clock, after=at(self.clock.now_ms() + round(ahead_seconds * 1000)))
        self._watch = ClockWatch(self.clock, positions, self._registry)

    async def said(self) -> list[str]:
        self._caplog.clear()
        await self._watch.look()
        return [record.getMessage() for record in self._caplog.records]

    def metric(self, name: str) -> float | None:
        return self._registry.get_sample_value(name)


async def test_a_jump_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(caplog)
    assert await scene.said() == []
    scene.clock.show_wrongly(-600)
    assert scene.metric("tidings_clock_jumped_seconds") == -600
    assert await scene.said() == [
        "the machine's clock has jumped by -600.0 s: what people are shown follows it, and the rest slowly"
    ]
    assert await scene.said() == []
    scene.clock.show_wrongly(0)
    assert await scene.said() == ["the machine's clock and the steady time agree again"]
    assert scene.metric("tidings_clock_jumped_seconds") == 0


async def test_positions_far_ahead_of_the_clock_are_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(caplog, ahead_seconds=400 * 86_400)
    (said,) = await scene.said()
    assert said.startswith("the last position is 34560000 s ahead of the machine's clock")
    assert scene.metric("tidings_positions_ahead_seconds") == pytest.approx(34_560_000, abs=0.01)
    assert await scene.said() == []
