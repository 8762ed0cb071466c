"""Limits of sign-in that hold over several api servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server.throttle import AccountLimits
from tests.support.accounts import World, log_in, open_world, sign_up
from tests.support.rates import MemoryRates
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.rate import Rate
from tidings.core.reasons import Reason

LIMITS = AccountLimits(sign_ups=Rate(0.1, 2), failures_per_account=Rate(0.1, 3), failures_per_address=Rate(0.1, 6))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


async def code(attempt: object) -> Code | None:
    """How it was refused, if it was."""
    try:
        await attempt  # type: ignore[misc]
    except Refusal as refusal:
        return refusal.code
    return None


async def test_sign_ups_are_counted_over_all_servers(world: World) -> None:
    rates = MemoryRates(world.clock)
    one, two = (world.accounts(LIMITS, shared_rates=rates) for _ in range(2))
    await sign_up(one, "ada")
    await sign_up(two, "bob")
    assert await code(sign_up(one, "carl")) is Code.RESOURCE_EXHAUSTED
    assert await code(sign_up(one, "carl", address="ipv4:2")) is None


async def test_failures_are_counted_over_all_servers(world: World) -> None:
    rates = MemoryRates(world.clock)
    one, two = (world.accounts(LIMITS, shared_rates=rates) for _ in range(2))
    await sign_up(one)
    for accounts in (one, two, one):
        assert await code(log_in(accounts, password="wrong password")) is Code.UNAUTHENTICATED
    assert await code(log_in(two)) is Code.RESOURCE_EXHAUSTED
    world.clock.advance(10)
    assert await code(log_in(two)) is None


async def test_guesses_made_at_several_servers_at_once_get_no_more_answers_than_allowed(world: World) -> None:
    rates = MemoryRates(world.clock)
    servers = [world.accounts(LIMITS, shared_rates=rates) for _ in range(4)]
    await sign_up(servers[0])
    codes = await asyncio.gather(*(code(log_in(server, password="wrong password")) for server in servers * 3))
    assert codes.count(Code.UNAUTHENTICATED) == 3
    assert codes.count(Code.RESOURCE_EXHAUSTED) == 9


@pytest.mark.parametrize("stands", [False, True])
async def test_without_the_engine_each_server_counts_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, stands: bool
) -> None:
    monkeypatch.setattr("api_server.throttle._ANSWER_SECONDS", 0.01)
    rates = MemoryRates(world.clock)
    if stands:
        rates.never = asyncio.Event()
    else:
        rates.away = unavailable("the engine is away", Reason.STORAGE_UNAVAILABLE)
    one, two = (world.accounts(LIMITS, shared_rates=rates) for _ in range(2))
    await sign_up(one)
    for accounts in (one, one, one, two):
        assert await code(log_in(accounts, password="wrong password")) is Code.UNAUTHENTICATED
    assert await code(log_in(one)) is Code.RESOURCE_EXHAUSTED
    assert await code(log_in(two)) is None
