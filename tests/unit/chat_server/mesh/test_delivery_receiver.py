"""What other servers tell of the streams of a device, whatever their clocks show."""

from __future__ import annotations

import pytest

from chat_server.mesh.routed import DeliveryReceiver
from chat_server.sessions.registry import SessionRegistry
from tests.support.clock import FakeClock
from tests.support.sessions import session
from tidings.internal.v1 import peer_pb2


@pytest.mark.parametrize(("open_for_ms", "replaced"), [(0, True), (1_999, True), (2_001, False)])
@pytest.mark.parametrize("set_by", [0.0, -600.0])
def test_only_a_stream_that_was_opened_later_elsewhere_ends_this_one(
    open_for_ms: int, replaced: bool, set_by: float
) -> None:
    clock, sessions, here = FakeClock(), SessionRegistry(), session("ann", "phone")
    receiver = DeliveryReceiver(sessions, clock)
    here.opened = clock.monotonic()
    sessions.add(here)
    clock.advance(2)
    clock.set_by(set_by)
    receiver.newer_stream(peer_pb2.NewerStream(device_id="phone", open_for_ms=open_for_ms))
    assert (here.ended is not None) is replaced
