"""What it costs to decide whether a call or a command may go on, in function calls, which no busy machine changes.

The bounds are half as much again as what was counted when they were set: 17 for a call, 8 for a command, 2 for one to
be counted in its frame. Measured then: a call's admission 1.9 us, and its room for an answer with the limits of time
16 us; a command 0.4 us, and 0.2 us to be counted in its frame.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.support.clock import FakeClock
from tidings.core.framing import has_more_than
from tidings.core.rate import Rate, RateLimiter
from tidings.rpc.addresses import ClientAddresses
from tidings.rpc.admission import Admission, Caller, CallLimits

CALL, COMMAND, COUNTED = 26, 12, 3.0


def calls(work: Callable[[], object]) -> int:
    """Function calls, Python's and C's, that some work takes once everything is known."""
    work()
    count = 0

    def happened(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(happened)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_call() -> None:
    clock = FakeClock()
    admission = Admission(CallLimits(Rate(1e9, 1e9), Rate(1e9, 1e9)), clock)
    addresses = ClientAddresses()
    metadata = (("authorization", "Bearer x"), ("user-agent", "test"))

    def admitted() -> None:
        addresses.of("ipv4:192.0.2.1:5000", metadata)
        caller = Caller("ann", is_user=True)
        admission.enter("/tidings.v1.AccountService/GetUser", caller, False)
        admission.leave(caller, False)

    assert calls(admitted) < CALL


def test_a_command() -> None:
    limiter = RateLimiter(Rate(1e9, 1e9), FakeClock())
    assert calls(lambda: limiter.take("ann", 1)) < COMMAND
    frame = (b"\x0a\x20" + bytes(32)) * 256
    assert calls(lambda: has_more_than(256, frame)) / 256 < COUNTED
