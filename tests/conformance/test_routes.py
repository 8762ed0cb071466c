"""What every `Routes` promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping

import pytest

from tests.conformance.soft_state import SOFT_ENGINES
from tidings.core.ports import Routes


@pytest.fixture(params=SOFT_ENGINES)
async def routes(request: pytest.FixtureRequest) -> AsyncIterator[Routes]:
    async with SOFT_ENGINES[request.param](request) as ports:
        yield ports.routes


def sets(found: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Without their order; no id is given twice."""
    assert all(len(set(user_ids)) == len(user_ids) for user_ids in found.values())
    return {server_id: set(user_ids) for server_id, user_ids in found.items()}


async def test_whoever_was_never_added_is_nowhere(routes: Routes) -> None:
    assert await routes.lookup(["a", "b"]) == {}
    assert await routes.lookup([]) == {}


async def test_users_are_found_by_server(routes: Routes) -> None:
    await routes.add("a", "one")
    await routes.add("b", "one")
    await routes.add("b", "two")
    await routes.add("c", "two")
    assert sets(await routes.lookup(["a", "b", "c", "d"])) == {"one": {"a", "b"}, "two": {"b", "c"}}
    assert sets(await routes.lookup({"c"})) == {"two": {"c"}}


async def test_adding_again_changes_nothing(routes: Routes) -> None:
    await routes.add("a", "one")
    await routes.add("a", "one")
    assert sets(await routes.lookup(["a"])) == {"one": {"a"}}


async def test_a_server_removes_what_is_its_own(routes: Routes) -> None:
    await routes.add("a", "one")
    await routes.add("a", "two")
    await routes.remove("a", "one")
    await routes.remove("a", "one")
    await routes.remove("never", "one")
    assert sets(await routes.lookup(["a"])) == {"two": {"a"}}
    await routes.remove("a", "two")
    assert await routes.lookup(["a"]) == {}


async def test_a_refresh_adds_what_was_lost_and_leaves_the_rest(routes: Routes) -> None:
    await routes.add("a", "one")
    await routes.add("b", "two")
    await routes.refresh("one", ["b", "c"])
    await routes.refresh("one", [])
    assert sets(await routes.lookup("abc")) == {"one": {"a", "b", "c"}, "two": {"b"}}


async def test_many_users_at_once(routes: Routes) -> None:
    users = [f"user-{number}" for number in range(1_300)]
    await routes.refresh("one", users)
    await routes.refresh("two", users[:7])
    assert sets(await routes.lookup(users)) == {"one": set(users), "two": set(users[:7])}


async def test_the_epoch_stays_while_nothing_is_lost(routes: Routes) -> None:
    epoch = await routes.epoch()
    await routes.add("a", "one")
    assert await routes.epoch() == epoch
