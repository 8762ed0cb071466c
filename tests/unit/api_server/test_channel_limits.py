"""How many channels somebody may be in, own and open, and that others cannot take all of the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from api_server.channel_limits import ChannelLimits, ChannelRates
from tests.support.channels import UNLIMITED, World, open_world
from tests.support.rates import MemoryRates
from tidings.core.errors import Code, Refusal
from tidings.core.rate import Rate
from tidings.core.values import Role

PEOPLE = [f"u{number}" for number in range(9)]
ANN, BEN, CAS, DAN, *OTHERS = PEOPLE

A_DAY = 86_400
RATES = ChannelRates(direct_channels=Rate(2 / A_DAY, 2), added_members=Rate(3 / A_DAY, 3))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, UNLIMITED) as opened:
        await opened.sign_up(*PEOPLE)
        yield opened


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[World]:
    """With rates that are soon used up."""
    async with open_world(tmp_path, RATES) as opened:
        await opened.sign_up(*PEOPLE)
        yield opened


async def refused(call: Awaitable[object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await call
    return caught.value


async def group(world: World, owner: str, *others: str) -> str:
    return (await world.channels.create_group(owner, "tea", others)).snapshot.record.channel_id


async def in_channels(world: World, user_id: str) -> int:
    return len((await world.channels.list(user_id, 0, "")).channels)


def too_many_channels(refusal: Refusal, user_id: str, field: str, limit: int) -> None:
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "TOO_MANY_CHANNELS")
    assert refusal.metadata == {"field": field, "limit": f"{limit}", "actual": f"{limit}", "user_id": user_id}
    assert refusal.retry_after is None


def too_many_groups(refusal: Refusal, user_id: str, field: str, limit: int) -> None:
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "TOO_MANY_GROUPS")
    assert refusal.metadata == {"field": field, "limit": f"{limit}", "actual": f"{limit}", "user_id": user_id}


# --- groups that one owns ---------------------------------------------------------------------------------------------


async def test_one_owns_so_many_groups_until_one_is_left_or_handed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_server.channel_limits.GROUPS_OWNED", 2)
    mine, given = await group(world, ANN), await group(world, ANN, BEN)
    # To be in others' groups is not to own them.
    await group(world, BEN, ANN)
    too_many_groups(await refused(world.channels.create_group(ANN, "tea", [])), ANN, "member_ids", 2)
    assert await in_channels(world, ANN) == 3

    await world.channels.update_group(ANN, given, None, (BEN, Role.OWNER))
    await group(world, ANN)
    await refused(world.channels.create_group(ANN, "tea", []))
    await world.channels.leave(ANN, mine)
    await group(world, ANN)


async def test_nobody_is_made_owner_of_a_group_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_server.channel_limits.GROUPS_OWNED", 1)
    await group(world, BEN)
    channel_id = await group(world, ANN, BEN)
    handing_over = world.channels.update_group(ANN, channel_id, "new", (BEN, Role.OWNER))
    too_many_groups(await refused(handing_over), BEN, "role_change.user_id", 1)
    view = await world.channels.get(ANN, channel_id)
    assert ({each.user_id: each.role for each in view.snapshot.members}, view.snapshot.title) == (
        {ANN: Role.OWNER, BEN: Role.MEMBER},
        "tea",
    )
    await world.channels.update_group(ANN, channel_id, None, (BEN, Role.ADMIN))
    # Who is not in the group does not learn of it how much somebody owns.
    outside = await refused(world.channels.update_group(CAS, channel_id, None, (BEN, Role.OWNER)))
    assert outside.code is Code.NOT_FOUND


# --- channels that one is in ------------------------------------------------------------------------------------------


async def test_others_fill_a_part_of_the_places_and_the_rest_is_ones_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_server.channel_limits.CHANNELS", 4)
    monkeypatch.setattr("api_server.channel_limits.CHANNELS_BY_OTHERS", 2)
    strangers = await group(world, ANN, CAS)
    await group(world, ANN, BEN)
    await world.channels.open_direct(ANN, BEN)

    too_many_channels(await refused(world.channels.create_group(CAS, "tea", [DAN, BEN])), BEN, "member_ids", 2)
    too_many_channels(await refused(world.channels.add_members(ANN, strangers, [DAN, BEN])), BEN, "member_ids", 2)
    too_many_channels(await refused(world.channels.open_direct(CAS, BEN)), BEN, "user_id", 2)
    assert (await in_channels(world, DAN), await in_channels(world, BEN)) == (0, 2)

    await world.channels.open_direct(BEN, DAN)
    mine = await group(world, BEN, DAN)
    too_many_channels(await refused(world.channels.open_direct(BEN, CAS)), BEN, "user_id", 4)
    too_many_channels(await refused(world.channels.create_group(BEN, "tea", [])), BEN, "member_ids", 4)
    # Those that are there stay open, and who is in a group already is not added to it.
    await world.channels.open_direct(BEN, ANN)
    await world.channels.add_members(BEN, mine, [DAN])

    await world.channels.leave(BEN, mine)
    await group(world, BEN)


# --- a day's direct channels and added people -------------------------------------------------------------------------


async def test_one_opens_so_many_direct_channels_a_day_and_those_that_are_there_cost_nothing(slow: World) -> None:
    await slow.channels.open_direct(ANN, BEN)
    for _ in range(5):
        await slow.channels.open_direct(ANN, BEN)
        await slow.channels.open_direct(BEN, ANN)
    # Nor do those that somebody else opened, or that cannot be.
    await slow.channels.open_direct(CAS, ANN)
    await slow.channels.open_direct(ANN, CAS)
    await refused(slow.channels.open_direct(ANN, "nobody"))
    await slow.channels.open_direct(ANN, DAN)

    refusal = await refused(slow.channels.open_direct(ANN, OTHERS[0]))
    assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refusal.metadata == {"field": "user_id", "limit": "2", "actual": "1"}
    assert refusal.retry_after == pytest.approx(A_DAY / 2)
    assert await in_channels(slow, OTHERS[0]) == 0
    await slow.channels.open_direct(ANN, DAN)
    await slow.channels.open_direct(BEN, OTHERS[0])

    slow.clock.advance(A_DAY / 2)
    await slow.channels.open_direct(ANN, OTHERS[0])
    await refused(slow.channels.open_direct(ANN, OTHERS[1]))


async def test_one_adds_so_many_people_a_day_wherever_to(slow: World) -> None:
    channel_id = await group(slow, ANN, BEN, CAS)
    refusal = await refused(slow.channels.add_members(ANN, channel_id, [DAN, OTHERS[0]]))
    assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refusal.metadata == {"field": "member_ids", "limit": "3", "actual": "2"}
    assert refusal.retry_after == pytest.approx(A_DAY / 3)
    # All or none: the one who is left may still be added. Those who are in it already cost nothing.
    await slow.channels.add_members(ANN, channel_id, [BEN, CAS, DAN])
    await slow.channels.add_members(ANN, channel_id, [BEN, CAS, DAN])
    assert (await refused(slow.channels.create_group(ANN, "tea", [BEN]))).reason == "RATE_LIMITED"
    # A group of one's own needs nobody.
    await group(slow, ANN)
    # More than may ever be added at once takes all that there is, and is not refused for ever.
    slow.clock.advance(A_DAY)
    await group(slow, ANN, *OTHERS)


async def test_a_days_channels_are_counted_over_all_servers(world: World) -> None:
    shared = MemoryRates(world.clock)
    servers = [ChannelLimits(world.memberships, RATES, world.clock, shared) for _ in range(2)]
    asked = [servers[number % 2].check_direct(ANN, each) for number, each in enumerate(OTHERS)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [each for each in outcomes if each is not None]
    assert (len(outcomes), len(refusals)) == (5, 3)
    assert all(isinstance(each, Refusal) and each.reason == "RATE_LIMITED" for each in refusals)
    await servers[0].check_added(ANN, OTHERS[:2])
    assert (await refused(servers[1].check_added(ANN, OTHERS[:2]))).reason == "RATE_LIMITED"
    await servers[1].check_added(ANN, OTHERS[:1])


async def test_a_rate_that_is_lower_than_one_group_still_lets_a_group_through(world: World) -> None:
    rates = replace(RATES, added_members=Rate(1 / A_DAY, 1))
    limits = ChannelLimits(world.memberships, rates, world.clock)
    await limits.check_added(ANN, OTHERS)
    assert (await refused(limits.check_added(ANN, OTHERS[:1]))).retry_after == pytest.approx(A_DAY)
