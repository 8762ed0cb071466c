"""Opening, making and changing channels: what is refused, in which words, and what comes of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from api_server import channel_convert
from tests.support.channels import World, open_world
from tidings.core import actions
from tidings.core.errors import Code, Refusal
from tidings.core.ids import direct_channel_id
from tidings.core.values import ChannelKind, ChannelView, Role
from tidings.v1 import channel_pb2

PEOPLE = ("ann", "ben", "cas", "dan")
CROWD = [f"u{number:03}" for number in range(120)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        await opened.sign_up(*PEOPLE)
        yield opened


async def _group(world: World, *members: str, title: str = "tea") -> str:
    """A group of ann and others; its id."""
    return _id(await world.channels.create_group("ann", title, members))


def _id(view: ChannelView) -> str:
    return view.snapshot.record.channel_id


def _members(view: ChannelView) -> dict[str, Role]:
    return {each.user_id: each.role for each in view.snapshot.members}


async def _refused(call: Awaitable[object], code: Code, reason: str, field: str = "") -> Refusal:
    with pytest.raises(Refusal) as caught:
        await call
    refusal = caught.value
    assert (refusal.code, refusal.reason) == (code, reason)
    assert [each.field for each in refusal.violations] == ([field] if field else [])
    return refusal


# --- direct channels --------------------------------------------------------------------------------------------------


async def test_a_direct_channel_is_one_from_both_sides_and_however_often(world: World) -> None:
    views = [
        await world.channels.open_direct("ann", "ben"),
        await world.channels.open_direct("ben", "ann"),
        await world.channels.open_direct("ann", "ben"),
    ]
    assert {_id(each) for each in views} == {direct_channel_id("ann", "ben")}
    snapshot = views[0].snapshot
    assert (snapshot.record.kind, snapshot.title, snapshot.head_seq) == (ChannelKind.DIRECT, "", 0)
    assert _members(views[0]) == {"ann": Role.MEMBER, "ben": Role.MEMBER}
    assert all(each.snapshot == snapshot for each in views)


async def test_a_direct_channel_opened_by_both_at_the_same_time_is_one(world: World) -> None:
    views = await asyncio.gather(
        *(world.channels.open_direct(*pair) for pair in (("ann", "ben"), ("ben", "ann")) for _ in range(5))
    )
    assert {_id(each) for each in views} == {direct_channel_id("ann", "ben")}
    assert len((await world.channels.list("ann", 0, "")).channels) == 1


async def test_a_direct_channel_is_with_somebody_else_who_exists(world: World) -> None:
    await _refused(world.channels.open_direct("ann", "ann"), Code.INVALID_ARGUMENT, "INVALID_FIELD", "user_id")
    for nobody in ("eve", "", "x" * 10_000):
        await _refused(world.channels.open_direct("ann", nobody), Code.NOT_FOUND, "NOT_FOUND", "user_id")
    assert (await world.channels.list("ann", 0, "")).channels == []


@pytest.mark.parametrize(("blocker", "blocked"), [("ann", "ben"), ("ben", "ann")])
async def test_a_block_keeps_a_direct_channel_from_being_made_but_not_from_being_found(
    world: World, blocker: str, blocked: str
) -> None:
    await world.contacts.block(blocker, blocked, 1)
    for one, other in (("ann", "ben"), ("ben", "ann")):
        await _refused(world.channels.open_direct(one, other), Code.PERMISSION_DENIED, "BLOCKED")
    await world.contacts.unblock(blocker, blocked)
    made = await world.channels.open_direct("ann", "ben")
    await world.contacts.block(blocker, blocked, 1)
    for one, other in (("ann", "ben"), ("ben", "ann")):
        assert _id(await world.channels.open_direct(one, other)) == _id(made)


# --- groups -----------------------------------------------------------------------------------------------------------


async def test_a_group_belongs_to_whoever_makes_it(world: World) -> None:
    view = await world.channels.create_group("ann", "tea", ["ben", "ann", "cas", "ben"])
    snapshot = view.snapshot
    assert (snapshot.record.kind, snapshot.title) == (ChannelKind.GROUP, "tea")
    assert _members(view) == {"ann": Role.OWNER, "ben": Role.MEMBER, "cas": Role.MEMBER}
    assert _members(await world.channels.create_group("ann", "alone", [])) == {"ann": Role.OWNER}


@pytest.mark.parametrize(("title", "actual"), [("", "0"), ("x" * 129, "129"), ("💬" * 129, "129")])
async def test_a_title_has_1_to_128_characters(world: World, title: str, actual: str) -> None:
    channel_id = await _group(world)
    for call in (
        world.channels.create_group("ann", title, []),
        world.channels.update_group("ann", channel_id, title, None),
    ):
        refusal = await _refused(call, Code.INVALID_ARGUMENT, "INVALID_FIELD", "title")
        assert refusal.metadata == {"limit": "1" if title == "" else "128", "actual": actual}
    assert (await world.channels.create_group("ann", "💬" * 128, [])).snapshot.title == "💬" * 128


async def test_the_first_member_who_does_not_exist_is_named(world: World) -> None:
    channel_id = await _group(world)
    for call in (
        world.channels.create_group("ann", "tea", ["ben", "eve", "fay"]),
        world.channels.add_members("ann", channel_id, ["ben", "eve", "fay"]),
    ):
        refusal = await _refused(call, Code.INVALID_ARGUMENT, "INVALID_FIELD", "member_ids")
        assert refusal.metadata == {"actual": "eve"}
        assert "'eve'" in refusal.message
    refusal = await _refused(
        world.channels.create_group("ann", "tea", ["x" * 10_000]), Code.INVALID_ARGUMENT, "INVALID_FIELD", "member_ids"
    )
    assert len(refusal.message) < 200
    assert _members(await world.channels.get("ann", channel_id)) == {"ann": Role.OWNER}
    assert len((await world.channels.list("ann", 0, "")).channels) == 1


async def test_a_group_has_at_most_100_members(world: World) -> None:
    await world.sign_up(*CROWD)
    full = await world.channels.create_group("ann", "tea", CROWD[:99])
    assert len(_members(full)) == 100
    room_for_one = await _group(world, *CROWD[:98])
    for call, actual in (
        (world.channels.create_group("ann", "tea", CROWD[:100]), "101"),
        (world.channels.create_group("ann", "tea", [f"nobody{number}" for number in range(50_000)]), "50001"),
        (world.channels.add_members("ann", _id(full), CROWD[:100]), "101"),
        (world.channels.add_members("ann", room_for_one, ["ben", "cas"]), "101"),
    ):
        refusal = await _refused(call, Code.FAILED_PRECONDITION, "GROUP_FULL")
        assert refusal.metadata == {"field": "member_ids", "limit": "100", "actual": actual}
    # Those who are in it already take no room.
    assert len(_members(await world.channels.add_members("ann", room_for_one, [*CROWD[:98], "ann", "ben"]))) == 100


async def test_a_group_does_not_pass_100_under_adds_at_the_same_time(world: World) -> None:
    await world.sign_up(*CROWD)
    channel_id = await _group(world, *CROWD[:89])
    outcomes = await asyncio.gather(
        *(world.channels.add_members("ann", channel_id, CROWD[at : at + 3]) for at in range(90, 120, 3)),
        return_exceptions=True,
    )
    refusals = [each for each in outcomes if isinstance(each, Refusal)]
    assert len(outcomes) - len(refusals) == 3
    assert {(each.code, each.reason) for each in refusals} == {(Code.FAILED_PRECONDITION, "GROUP_FULL")}
    # 90 and three times three: all or none of each call.
    assert len(_members(await world.channels.get("ann", channel_id))) == 99


@pytest.mark.parametrize(("blocker", "blocked"), [("ann", "ben"), ("ben", "ann")])
async def test_nobody_adds_whom_a_block_separates_from_them(world: World, blocker: str, blocked: str) -> None:
    channel_id = await _group(world, "cas")
    await world.contacts.block(blocker, blocked, 1)
    for call in (
        world.channels.create_group("ann", "tea", ["dan", "ben"]),
        world.channels.add_members("ann", channel_id, ["dan", "ben"]),
    ):
        refusal = await _refused(call, Code.PERMISSION_DENIED, "BLOCKED")
        assert refusal.metadata == {"field": "member_ids", "actual": "ben"}
    assert set(_members(await world.channels.get("ann", channel_id))) == {"ann", "cas"}


async def test_a_block_between_others_and_with_present_members_does_not_matter(world: World) -> None:
    channel_id = await _group(world, "ben", "cas")
    await world.contacts.block("ben", "ann", 1)
    await world.contacts.block("cas", "dan", 1)
    view = await world.channels.add_members("ann", channel_id, ["ben", "dan"])
    assert set(_members(view)) == {"ann", "ben", "cas", "dan"}


async def test_adding_asks_for_somebody_to_add(world: World) -> None:
    refusal = await _refused(
        world.channels.add_members("ann", await _group(world), []),
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "member_ids",
    )
    assert refusal.metadata == {"limit": "1", "actual": "0"}


async def test_members_and_strangers_may_not_add(world: World) -> None:
    channel_id = await _group(world, "ben")
    await _refused(world.channels.add_members("ben", channel_id, ["cas"]), Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    # Nobody new is no way round it.
    await _refused(world.channels.add_members("ben", channel_id, ["ann"]), Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    await _refused(world.channels.add_members("cas", channel_id, ["cas"]), Code.NOT_FOUND, "NOT_FOUND", "channel_id")


async def test_a_direct_channel_is_no_group(world: World) -> None:
    channel_id = _id(await world.channels.open_direct("ann", "ben"))
    for call in (
        world.channels.add_members("ann", channel_id, ["cas"]),
        world.channels.remove_member("ann", channel_id, "ben"),
        world.channels.leave("ann", channel_id),
        world.channels.update_group("ann", channel_id, "title", None),
        world.channels.update_group("ann", channel_id, None, ("ben", 2)),
    ):
        await _refused(call, Code.FAILED_PRECONDITION, "NOT_A_GROUP")


async def test_removing_and_leaving(world: World) -> None:
    channel_id = await _group(world, "ben", "cas")
    assert set(_members(await world.channels.remove_member("ann", channel_id, "ben"))) == {"ann", "cas"}
    await world.channels.leave("ann", channel_id)
    assert _members(await world.channels.get("cas", channel_id)) == {"cas": Role.OWNER}
    for who in ("ann", "ben"):
        await _refused(world.channels.get(who, channel_id), Code.NOT_FOUND, "NOT_FOUND", "channel_id")
        await _refused(world.channels.leave(who, channel_id), Code.NOT_FOUND, "NOT_FOUND", "channel_id")


async def test_whom_one_cannot_remove(world: World) -> None:
    channel_id = await _group(world, "ben", "cas")
    remove = world.channels.remove_member
    await _refused(remove("ann", channel_id, "dan"), Code.NOT_FOUND, "NOT_FOUND", "user_id")
    await _refused(remove("ann", channel_id, "ann"), Code.FAILED_PRECONDITION, "LEAVE_INSTEAD")
    await _refused(remove("ben", channel_id, "cas"), Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    await world.channels.update_group("ann", channel_id, None, ("ben", Role.ADMIN))
    await _refused(remove("ben", channel_id, "ann"), Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    assert set(_members(await remove("ben", channel_id, "cas"))) == {"ann", "ben"}


async def test_title_and_role_change_together(world: World) -> None:
    channel_id = await _group(world, "ben")
    view = await world.channels.update_group("ann", channel_id, "coffee", ("ben", Role.OWNER))
    assert view.snapshot.title == "coffee"
    assert _members(view) == {"ann": Role.ADMIN, "ben": Role.OWNER}


async def test_a_refused_role_change_leaves_the_title(world: World) -> None:
    channel_id = await _group(world, "ben", "cas")
    await world.channels.update_group("ann", channel_id, None, ("ben", Role.ADMIN))
    update = world.channels.update_group
    await _refused(update("ben", channel_id, "coffee", ("cas", Role.ADMIN)), Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    await _refused(
        update("ann", channel_id, "coffee", ("dan", Role.ADMIN)), Code.NOT_FOUND, "NOT_FOUND", "role_change.user_id"
    )
    for role in (0, 4, -1):
        refusal = await _refused(
            update("ann", channel_id, "coffee", ("ben", role)),
            Code.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "role_change.role",
        )
        assert refusal.metadata == {"actual": str(role)}
    await _refused(update("ann", channel_id, None, None), Code.INVALID_ARGUMENT, "INVALID_FIELD", "title")
    assert (await world.channels.get("ann", channel_id)).snapshot.title == "tea"


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_channels_are_listed_in_pages_latest_activity_first(world: World) -> None:
    made = []
    for number in range(5):
        world.clock.advance(1)
        made.append(await _group(world, title=str(number)))
    made.append(_id(await world.channels.open_direct("ann", "ben")))
    # The direct channel, which has no event yet, comes last.
    expected = [*made[4::-1], made[5]]
    found: list[str] = []
    token = ""
    pages = 0
    while pages == 0 or token:
        page = await world.channels.list("ann", 2, token)
        found += map(_id, page.channels)
        token = page.next_page_token
        pages += 1
    assert (found, pages) == (expected, 3)
    everything = await world.channels.list("ann", 0, "")
    assert ([_id(each) for each in everything.channels], everything.next_page_token) == (expected, "")
    await world.sequencer.submit(made[0], "ann", actions.Send("one", "hello"))
    assert _id((await world.channels.list("ann", 1, "")).channels[0]) == made[0]


async def test_a_page_of_channels_is_clamped(world: World) -> None:
    await asyncio.gather(*(_group(world) for _ in range(201)))
    for size, most in ((0, 100), (1_000_000, 200)):
        page = await world.channels.list("ann", size, "")
        assert len(page.channels) == most
        assert page.next_page_token
    rest = await world.channels.list("ann", 200, page.next_page_token)
    assert (len(rest.channels), rest.next_page_token) == (1, "")


@pytest.mark.parametrize("token", ["x", "????", "AAAA", "AAAAAAAAAAA=", "__________9n", "AAAAAAAAAAD_", "é"])
async def test_a_page_token_that_was_not_given_out_is_refused(world: World, token: str) -> None:
    await _refused(world.channels.list("ann", 0, token), Code.INVALID_ARGUMENT, "INVALID_FIELD", "page_token")


async def test_what_one_is_not_in_is_as_good_as_not_there(world: World) -> None:
    channel_id = await _group(world, "ben")
    for calls in (
        [world.channels.get(who, which) for who, which in (("cas", channel_id), ("ann", "gx"), ("ann", ""))],
        [world.channels.set_mute(who, which, True) for who, which in (("cas", channel_id), ("ann", "gx"))],
        [world.channels.leave(who, which) for who, which in (("cas", channel_id), ("ann", "gx"))],
        [world.channels.remove_member(who, which, "ben") for who, which in (("cas", channel_id), ("ann", "gx"))],
        [world.channels.update_group(who, which, "x", None) for who, which in (("cas", channel_id), ("ann", "gx"))],
    ):
        messages = {(await _refused(call, Code.NOT_FOUND, "NOT_FOUND", "channel_id")).message for call in calls}
        assert messages == {"no such channel"}


async def test_a_mute_is_ones_own(world: World) -> None:
    channel_id = await _group(world, "ben")
    await world.channels.set_mute("ben", channel_id, True)
    assert (await world.channels.get("ben", channel_id)).muted
    assert not (await world.channels.get("ann", channel_id)).muted
    await world.channels.set_mute("ben", channel_id, False)
    assert not (await world.channels.get("ben", channel_id)).muted


async def test_a_channel_in_the_contract(world: World) -> None:
    channel_id = await _group(world, "ben")
    world.clock.advance(1.5)
    await world.channels.add_members("ann", channel_id, ["cas"])
    sent = await world.sequencer.submit(channel_id, "ann", actions.Send("one", "hello"))
    await world.sequencer.submit(channel_id, "cas", actions.MarkRead(3))
    await world.sequencer.submit(channel_id, "ben", actions.MarkRead(2))
    await world.channels.set_mute("cas", channel_id, True)
    found = channel_convert.channel(await world.channels.get("cas", channel_id), "cas")
    assert (found.channel_id, found.kind, found.title) == (channel_id, channel_pb2.CHANNEL_KIND_GROUP, "tea")
    assert [(each.user_id, each.role, each.since_seq) for each in found.members] == [
        ("ann", channel_pb2.MEMBER_ROLE_OWNER, 1),
        ("ben", channel_pb2.MEMBER_ROLE_MEMBER, 1),
        ("cas", channel_pb2.MEMBER_ROLE_MEMBER, 3),
    ]
    assert [(each.delivered_seq, each.read_seq) for each in found.members] == [(0, 0), (2, 2), (3, 3)]
    assert found.members[2].joined_at.ToMilliseconds() == world.clock.now_ms()
    assert found.created_at.ToMilliseconds() == world.clock.now_ms() - 1_500
    assert (found.head_seq, found.head_position) == (sent.seq, sent.position)
    assert (found.my_read_seq, found.my_delivered_seq, found.my_since_seq, found.unread_count) == (3, 3, 3, 1)
    assert found.muted
