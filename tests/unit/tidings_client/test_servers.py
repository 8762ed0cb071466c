"""Which server the SDK tries next."""

from __future__ import annotations

from tidings.v1 import discovery_pb2
from tidings_client._servers import Servers


def server(name: str) -> discovery_pb2.Server:
    return discovery_pb2.Server(server_id=name, endpoint=f"{name}:1")


A, B, C = server("a"), server("b"), server("c")


def test_without_any_advice_home_is_tried_and_advice_is_wanted() -> None:
    servers = Servers("home:1")
    assert servers.wants_advice
    assert servers.next().endpoint == "home:1"
    servers.failed(servers.next())
    assert servers.next().endpoint == "home:1"
    assert servers.excluded == [], "home has no id to exclude"


def test_the_best_is_tried_first_and_as_long_as_it_works() -> None:
    servers = Servers("home:1", [A, B])
    assert not servers.wants_advice
    assert servers.next() == A
    assert servers.next() == A


def test_what_failed_is_passed_over_until_all_have() -> None:
    servers = Servers("home:1", [A, B])
    servers.failed(A)
    assert servers.next() == B
    assert servers.excluded == ["a"]
    servers.failed(B)
    assert servers.excluded == ["a", "b"]
    assert servers.next() == A, "all failed: they are tried again in turn"
    servers.failed(A)
    assert servers.next() == B


def test_a_failure_asks_for_newer_advice_once() -> None:
    servers = Servers("home:1", [A, B])
    servers.failed(A)
    assert servers.wants_advice
    servers.learn([B, C, A])
    assert not servers.wants_advice
    assert servers.next() == B


def test_a_server_that_failed_is_passed_over_in_newer_advice_too() -> None:
    servers = Servers("home:1", [A, B])
    servers.failed(A)
    servers.learn([A, C])
    assert servers.next() == C


def test_advice_that_names_nobody_changes_nothing() -> None:
    servers = Servers("home:1", [A])
    servers.failed(A)
    servers.learn([])
    assert servers.wants_advice
    assert servers.next() == A


def test_a_live_stream_forgives_what_failed_before() -> None:
    servers = Servers("home:1", [A, B])
    servers.failed(A)
    servers.worked()
    assert servers.next() == A
    assert servers.excluded == []
