"""The rules of contacts and blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server.contacts import Contacts
from tests.support.accounts import World, open_world, sign_up
from tidings.core.errors import Code, Refusal
from tidings.core.ids import direct_channel_id


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def contacts(world: World) -> Contacts:
    return world.contacts()


@pytest.fixture
async def ada(world: World) -> str:
    return (await sign_up(world.accounts(), "ada")).user.user_id


@pytest.fixture
async def bob(world: World) -> str:
    return (await sign_up(world.accounts(), "bob")).user.user_id


async def test_a_contact_is_added_once(world: World, contacts: Contacts, ada: str, bob: str) -> None:
    added_at_ms = world.clock.now_ms()
    first = await contacts.add(ada, bob)
    assert (first.user.username, first.added_at_ms) == ("bob", added_at_ms)
    world.clock.advance(5)
    assert await contacts.add(ada, bob) == first
    assert await contacts.contacts(ada) == [first]
    assert await contacts.contacts(bob) == []


async def test_removing_a_contact_is_never_an_error(contacts: Contacts, ada: str, bob: str) -> None:
    await contacts.add(ada, bob)
    await contacts.remove(ada, bob)
    await contacts.remove(ada, bob)
    await contacts.remove(ada, "u-nobody")
    assert await contacts.contacts(ada) == []


@pytest.mark.parametrize("call", ["add", "block"])
async def test_nobody_cannot_be_added_or_blocked(world: World, contacts: Contacts, ada: str, call: str) -> None:
    for user_id in ("u-nobody", ""):
        with pytest.raises(Refusal) as refused:
            await getattr(contacts, call)(ada, user_id)
        assert (refused.value.code, refused.value.reason) == (Code.NOT_FOUND, "NOT_FOUND")
        assert [each.field for each in refused.value.violations] == ["user_id"]
    assert world.writer.refreshed == []


@pytest.mark.parametrize("call", ["add", "block"])
async def test_one_cannot_add_or_block_oneself(contacts: Contacts, ada: str, call: str) -> None:
    with pytest.raises(Refusal) as refused:
        await getattr(contacts, call)(ada, ada)
    assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [each.field for each in refused.value.violations] == ["user_id"]


@pytest.mark.parametrize(
    ("call", "bound", "reason"),
    [("add", "CONTACTS", "TOO_MANY_CONTACTS"), ("block", "BLOCKED_USERS", "TOO_MANY_BLOCKED")],
)
async def test_there_is_room_for_so_many_and_for_those_who_are_there(
    world: World, contacts: Contacts, ada: str, monkeypatch: pytest.MonkeyPatch, call: str, bound: str, reason: str
) -> None:
    monkeypatch.setattr(f"api_server.contacts.{bound}", 2)
    others = [(await sign_up(world.accounts(), name)).user.user_id for name in ("bob", "cas", "dan")]
    for other in (*others[:2], *others[:2]):
        await getattr(contacts, call)(ada, other)
    with pytest.raises(Refusal) as refused:
        await getattr(contacts, call)(ada, others[2])
    assert (refused.value.code, refused.value.reason) == (Code.FAILED_PRECONDITION, reason)
    assert refused.value.metadata == {"field": "user_id", "limit": "2", "actual": "2"}
    await getattr(contacts, {"add": "remove", "block": "unblock"}[call])(ada, others[0])
    await getattr(contacts, call)(ada, others[2])


async def test_a_block_is_kept_and_the_direct_channel_hears_of_it(
    world: World, contacts: Contacts, ada: str, bob: str
) -> None:
    await contacts.block(ada, bob)
    assert [each.user_id for each in await contacts.blocked(ada)] == [bob]
    assert await contacts.blocked(bob) == []
    assert world.writer.refreshed == [direct_channel_id(ada, bob)]
    await contacts.block(ada, bob)
    await contacts.unblock(ada, bob)
    await contacts.unblock(ada, bob)
    assert await contacts.blocked(ada) == []
    assert world.writer.refreshed == 4 * [direct_channel_id(bob, ada)]


async def test_the_direct_channel_hears_of_a_block_once_it_is_kept(
    world: World, contacts: Contacts, ada: str, bob: str
) -> None:
    blocked_then: list[bool] = []

    async def refresh(channel_id: str) -> None:
        blocked_then.append(bool(await world.contact_store.blocked_either_way(ada, [bob])))

    world.writer.refresh = refresh  # type: ignore[method-assign] # Looks at the storage when it is called.
    await contacts.block(bob, ada)
    await contacts.unblock(bob, ada)
    assert blocked_then == [True, False]
