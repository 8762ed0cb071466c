"""What every `Registry` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from tests.conformance.soft_state import REGISTRIES
from tidings.core.ports import Registry
from tidings.core.values import Server, ServerKind

CHAT = ServerKind.CHAT
ONE = Server("one", CHAT, "10.0.0.1:7000", "eu-central", 0.25, 50.1, 8.7)
TWO = Server("two", CHAT, "10.0.0.2:7000", "eu-central", 0.5, 50.1, 8.7)
API = Server("one", ServerKind.API, "10.0.0.1:7001", "eu-central", 0.0, 50.1, 8.7)


@pytest.fixture(params=REGISTRIES)
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[Registry]:
    async with REGISTRIES[request.param](request) as ports:
        yield ports.registry


async def until(views: AsyncIterator[Sequence[Server]], found: Callable[[list[Server]], bool]) -> list[Server]:
    """The first view that is as wanted; an engine may show others before it."""
    async with asyncio.timeout(10):
        async for view in views:
            if found(list(view)):
                return list(view)
    raise AssertionError("the watch has ended")


async def settled(registry: Registry, kind: ServerKind, expected: list[Server]) -> None:
    """Waits for a view of a kind, and looks whether it is what is answered without asking anyone."""
    await until(registry.watch(kind), lambda view: view == expected)
    assert list(registry.servers(kind)) == expected


async def test_at_first_nobody_is_there(registry: Registry) -> None:
    assert list(registry.servers(CHAT)) == []
    assert await until(registry.watch(CHAT), lambda view: True) == []


async def test_servers_are_in_the_view_with_all_they_say_by_id(registry: Registry) -> None:
    await registry.register(TWO)
    await registry.register(ONE)
    await settled(registry, CHAT, [ONE, TWO])


async def test_kinds_are_kept_apart_even_under_one_id(registry: Registry) -> None:
    await registry.register(ONE)
    await registry.register(API)
    await settled(registry, CHAT, [ONE])
    await settled(registry, ServerKind.API, [API])
    await registry.unregister("one", CHAT)
    await settled(registry, CHAT, [])
    await settled(registry, ServerKind.API, [API])


async def test_registering_again_changes_what_is_known(registry: Registry) -> None:
    await registry.register(ONE)
    drained = replace(ONE, load=0.75, draining=True)
    await registry.register(drained)
    await settled(registry, CHAT, [drained])


async def test_unregistering_takes_out_and_twice_does_no_harm(registry: Registry) -> None:
    await registry.register(ONE)
    await registry.register(TWO)
    await registry.unregister("one", CHAT)
    await registry.unregister("one", CHAT)
    await registry.unregister("never", CHAT)
    await settled(registry, CHAT, [TWO])


async def test_a_watch_shows_what_is_there_and_then_each_change(registry: Registry) -> None:
    await registry.register(ONE)
    views = registry.watch(CHAT)
    await until(views, lambda view: view == [ONE])
    await registry.register(TWO)
    await until(views, lambda view: view == [ONE, TWO])
    busier = replace(ONE, load=0.9)
    await registry.register(busier)
    await until(views, lambda view: view == [busier, TWO])
    await registry.unregister("two", CHAT)
    await until(views, lambda view: view == [busier])


async def test_a_watch_wakes_a_watcher_that_waits(registry: Registry) -> None:
    views = registry.watch(CHAT)
    await until(views, lambda view: view == [])
    waiting = asyncio.create_task(until(views, lambda view: view == [ONE]))
    await asyncio.sleep(0)
    await registry.register(ONE)
    assert await waiting == [ONE]


async def test_changes_made_while_a_watcher_is_busy_are_not_lost(registry: Registry) -> None:
    views = registry.watch(CHAT)
    await until(views, lambda view: view == [])
    await registry.register(ONE)
    await registry.register(TWO)
    await registry.unregister("one", CHAT)
    await until(views, lambda view: view == [TWO])


async def test_each_watch_is_its_own(registry: Registry) -> None:
    first, second = registry.watch(CHAT), registry.watch(CHAT)
    await until(first, lambda view: view == [])
    await registry.register(ONE)
    await until(second, lambda view: view == [ONE])
    await until(first, lambda view: view == [ONE])
