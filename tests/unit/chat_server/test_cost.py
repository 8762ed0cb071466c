"""What a message costs on its way through the owner, in function calls: a number that no busy machine changes.

The bounds are half as much again as what was counted when they were set. Whoever passes one has made the way of every
message longer, and should know why.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tests.support.clock import FakeClock
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.core.actions import CreateChannel, Send
from tidings.core.limits import SessionLimits
from tidings.core.positions import Positions
from tidings.core.requests import ChannelRequest
from tidings.core.values import ChannelKind, Identity

MESSAGES = 64
# 404, 81 and 1.62 were counted.
ALONE, TOGETHER, DELIVERY = 600, 120, 2.4


class Scene:
    """An owner on a real database, and sessions whose events nobody reads."""

    def __init__(self, database: Database) -> None:
        clock = FakeClock()
        self.live = SessionRegistry()
        self.owner = Sequencer(SqliteChannelLog(database), self.live, Positions(clock), clock)
        self.answered = asyncio.Event()

    async def calls(self, members: int, at_once: int) -> float:
        """Function calls, Python's and C's, that a message takes in a group when `at_once` are sent together."""
        people = [self._session(f"u{n}") for n in range(members)]
        others = tuple(each.identity.user_id for each in people[1:])
        await self.owner.submit("c", "u0", CreateChannel(ChannelKind.GROUP, "t", others))
        await self._send(people[0], "warm", at_once)
        count = 0

        def happened(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(happened)
        try:
            for first in range(0, MESSAGES, at_once):
                await self._send(people[0], str(first), at_once)
        finally:
            sys.setprofile(None)
        assert {each.outbox.events for each in people} == {2 + at_once + MESSAGES}
        return count / MESSAGES

    def _session(self, user_id: str) -> Session:
        def wake(of: Session) -> None:
            if not of.in_flight:
                self.answered.set()

        made = Session(user_id, Identity(user_id, user_id, 1 << 62), SessionLimits(), wake)
        self.live.add(made)
        return made

    async def _send(self, sender: Session, name: str, count: int) -> None:
        for n in range(count):
            sender.start_command()
            reply = SessionReply(sender, n + 1)
            self.owner.post(ChannelRequest("c", "u0", Send(f"{name}-{n}", "x" * 200), reply))
        while sender.in_flight:
            self.answered.clear()
            await self.answered.wait()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = Database(tmp_path)
    yield Scene(database)
    await database.close()


async def test_a_message_alone(scene: Scene) -> None:
    assert await scene.calls(members=2, at_once=1) < ALONE


async def test_a_message_among_others(scene: Scene) -> None:
    assert await scene.calls(members=2, at_once=16) < TOGETHER


async def test_a_delivery(scene: Scene) -> None:
    assert await scene.calls(members=100, at_once=16) / 99 < DELIVERY
