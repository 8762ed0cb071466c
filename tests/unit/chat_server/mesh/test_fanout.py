"""The fan-out of a sequencer among many servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from chat_server.channels.fanout import Item
from chat_server.mesh.fanout import MeshFanout
from chat_server.mesh.routes import TrustedRoutes
from chat_server.sessions.registry import SessionRegistry
from tests.support.clock import FakeClock
from tests.support.memory_routes import MemoryRoutes
from tidings.core.ports import Inbox, InboxCopy, Replay
from tidings.core.values import Marks
from tidings.mesh.peer_outbox import Peers


class SlowInbox(Inbox):
    """Takes copies when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self.copies: list[InboxCopy] = []

    async def put(self, copies: Sequence[InboxCopy]) -> None:
        self.asked.set()
        await self.may.wait()
        self.copies += copies

    async def replay(self, user_id: str, after: int, upto: int) -> Replay:
        raise AssertionError

    async def receipts_since(self, user_id: str, after: int) -> Mapping[str, Mapping[str, Marks]]:
        raise AssertionError


def fanout(inbox: Inbox) -> MeshFanout:
    clock = FakeClock()
    routes = TrustedRoutes(MemoryRoutes(clock), clock)
    return MeshFanout(SessionRegistry(), Peers(), routes, inbox)


async def test_finishing_waits_for_what_is_under_way_and_leaves_it_the_loop() -> None:
    inbox = SlowInbox()
    made = fanout(inbox)
    running = asyncio.create_task(made.run())
    made.deliver("g", ["ann", "bob"], [Item(b"an event", 1, 1)])
    await inbox.asked.wait()
    finishing = asyncio.create_task(made.finish())
    asyncio.get_running_loop().call_soon(inbox.may.set)
    await finishing
    assert [copy.channel_id for copy in inbox.copies] == ["g"]
    assert made.is_finished("g")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_finishing_does_what_nobody_else_does() -> None:
    inbox = SlowInbox()
    inbox.may.set()
    made = fanout(inbox)
    made.deliver("g", ["ann", "bob"], [Item(b"an event", 1, 1)])
    assert not made.is_finished("g")
    await made.finish()
    assert made.is_finished("g")
