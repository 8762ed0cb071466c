from __future__ import annotations

from typing import Any

import pytest

from bench.figures import Spread, figures, reached, spreads
from bench.plan import LOADS

BY_NAME = {load.name: load for load in LOADS}


def report(**changes: Any) -> dict[str, Any]:
    return {
        "seconds": 2.0,
        "accepted": 1_000,
        "delivered": 99_000,
        "connects": 0,
        "connections": 100,
        "accept_ms": {"p50": 4.0, "p99": 9.0},
        "deliver_ms": {"p50": 5.0, "p99": 11.0},
        "connect_ms": None,
        "server_cpu_s": 0.99,
        "client_cpu_s": 0.5,
        "others_cpu_s": 1.0,
        "rss_before_kib": 60_000,
        "rss_after_kib": 64_000,
        **changes,
    }


def test_messages_are_counted_once_each() -> None:
    found = figures(BY_NAME["pairs"], report())

    assert found["rate_per_s"] == 500
    assert found["server_cpu_us"] == pytest.approx(990)
    assert found["client_cpu_us"] == pytest.approx(500)
    assert (found["accept_p50_ms"], found["deliver_p99_ms"]) == (4.0, 11.0)
    assert "rss_kib" not in found


def test_in_a_group_every_delivery_counts() -> None:
    found = figures(BY_NAME["group-100"], report())

    assert found["rate_per_s"] == 49_500
    assert found["server_cpu_us"] == pytest.approx(10)


def test_busy_cores_are_seconds_of_cpu_a_second() -> None:
    found = figures(BY_NAME["pairs"], report())

    assert [found[f"{who}_cores"] for who in ("server", "client", "others")] == [0.495, 0.25, 0.5]


def test_an_idle_connection_costs_the_memory_that_it_added() -> None:
    found = figures(BY_NAME["idle"], report(accept_ms=None, deliver_ms=None))

    assert found["rss_kib"] == 40
    assert "rate_per_s" not in found
    assert "server_cpu_us" not in found


def test_where_nothing_was_counted_there_is_no_cost_of_one() -> None:
    found = figures(BY_NAME["pairs"], report(accepted=0, accept_ms=None))

    assert "rate_per_s" not in found
    assert "server_cpu_us" not in found


def test_a_spread_is_over_the_runs_that_have_the_figure() -> None:
    found = spreads([{"rate_per_s": 3.0}, {"rate_per_s": 1.0, "rss_kib": 7.0}, {"rate_per_s": 2.5}])

    assert found == {"rate_per_s": Spread(1.0, 2.5, 3.0), "rss_kib": Spread(7.0, 7.0, 7.0)}


def test_a_rate_is_to_be_at_least_its_target_and_anything_else_at_most() -> None:
    assert reached("rate_per_s", 100, 100)
    assert not reached("rate_per_s", 99, 100)
    assert reached("server_cpu_us", 100, 100)
    assert not reached("deliver_p50_ms", 101, 100)
