"""Who may call now."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.clock import FakeClock
from tidings.core.errors import Code, Refusal
from tidings.core.rate import Rate
from tidings.rpc.admission import COSTS, LARGE_ANSWERS, Admission, Caller, CallLimits
from tidings.v1 import account_pb2, channel_pb2, chat_pb2, contact_pb2, discovery_pb2, history_pb2, presence_pb2

LIMITS = CallLimits(Rate(2, 10), Rate(1, 5), user_open=3, user_streams=2, address_open=2)
GET = "/tidings.v1.AccountService/GetUser"
ANN, BOB, HERE = Caller("ann", True), Caller("bob", True), Caller("192.0.2.1", False)


def refusal(admission: Admission, caller: Caller, method: str = GET, *, stream: bool = False) -> Refusal:
    with pytest.raises(Refusal) as refused:
        admission.enter(method, caller, stream)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    return refused.value


def call(admission: Admission, caller: Caller, method: str = GET) -> None:
    admission.enter(method, caller, False)
    admission.leave(caller, False)


def test_each_caller_has_tokens_of_its_own_and_is_told_when_there_are_more() -> None:
    clock = FakeClock()
    admission = Admission(LIMITS, clock)
    for _ in range(10):
        call(admission, ANN)
    refused = refusal(admission, ANN)
    assert (refused.reason, refused.retry_after) == ("RATE_LIMITED", 0.5)
    call(admission, BOB)
    for _ in range(5):
        call(admission, HERE)
    assert refusal(admission, HERE).retry_after == 1.0
    clock.advance(0.5)
    call(admission, ANN)
    assert refusal(admission, ANN).reason == "RATE_LIMITED"


def test_work_that_is_more_costs_more() -> None:
    admission = Admission(LIMITS, FakeClock())
    call(admission, ANN, "/tidings.v1.AccountService/SearchUsers")
    call(admission, ANN, "/tidings.v1.AccountService/SearchUsers")
    assert refusal(admission, ANN).reason == "RATE_LIMITED"


def test_open_calls_and_streams_are_counted_apart_and_until_they_are_over() -> None:
    admission = Admission(LIMITS, FakeClock())
    for _ in range(3):
        admission.enter(GET, ANN, False)
    for _ in range(2):
        admission.enter(GET, ANN, True)
    refused = refusal(admission, ANN)
    assert (refused.reason, refused.metadata["limit"]) == ("TOO_MANY_CALLS", "3")
    assert refusal(admission, ANN, stream=True).metadata["limit"] == "2"
    call(admission, BOB)
    admission.leave(ANN, False)
    admission.leave(ANN, True)
    call(admission, ANN)
    admission.enter(GET, ANN, True)


def test_the_process_has_a_limit_too() -> None:
    limits = dataclasses.replace(LIMITS, process_open=2, process_streams=1)
    admission = Admission(limits, FakeClock())
    admission.enter(GET, ANN, False)
    admission.enter(GET, BOB, False)
    assert refusal(admission, HERE).metadata["limit"] == "2"
    admission.enter(GET, HERE, True)
    assert refusal(admission, ANN, stream=True).metadata["limit"] == "1"
    admission.leave(ANN, False)
    call(admission, HERE)


def test_what_costs_more_is_a_method() -> None:
    files = (account_pb2, channel_pb2, chat_pb2, contact_pb2, discovery_pb2, history_pb2, presence_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert COSTS.keys() | LARGE_ANSWERS.keys() <= methods
