"""Two people who talk while others misbehave, and how long their messages take."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from dataclasses import dataclass, field
from time import monotonic

from tests.support.raw import Api, Stream

_BETWEEN = 0.05
_PATIENCE = 30.0


@dataclass
class Talk:
    """The times of a conversation, in seconds."""

    taken: list[float] = field(default_factory=list)
    """From sending a message to its arrival at the other person."""
    stalls: list[float] = field(default_factory=list)
    """By how much timers of this process were late meanwhile: what the machine itself kept waiting."""

    @property
    def p99(self) -> float:
        """The time that a message in a hundred is above."""
        return statistics.quantiles(self.taken, n=100)[-1] if len(self.taken) > 1 else max(self.taken, default=0.0)

    @property
    def longest(self) -> float:
        """The longest time of all."""
        return max(self.taken, default=0.0)

    @property
    def longest_stall(self) -> float:
        """The longest time that the machine kept this process waiting."""
        return max(self.stalls, default=0.0)


class Bystanders:
    """Two people with a connection of their own, each of whom answers the other.

    Args:
        endpoint: The server.
    """

    def __init__(self, endpoint: str) -> None:
        self.talk = Talk()
        self._endpoint = endpoint
        self._api = Api(endpoint)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Sign up and begin to talk."""
        ann, bob = await self._api.sign_up("ann"), await self._api.sign_up("bob")
        channel_id = (await ann.direct(bob)).channel_id
        begun = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._converse(ann.stream(), bob.stream(), channel_id, begun)),
            asyncio.create_task(self._watch_the_machine()),
        ]
        await begun.wait()

    async def stop(self) -> Talk:
        """End the conversation.

        Returns:
            What it took.

        Raises:
            Exception: It had ended before, which nobody's inputs may do.
        """
        for task in self._tasks:
            if task.done():
                task.result()
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._api.close()
        return self.talk

    async def _converse(
        self,
        ann: contextlib.AbstractAsyncContextManager[Stream],
        bob: contextlib.AbstractAsyncContextManager[Stream],
        channel_id: str,
        begun: asyncio.Event,
    ) -> None:
        async with ann as a, bob as b:
            begun.set()
            number = 0
            while True:
                for sender, reader in ((a, b), (b, a)):
                    number += 1
                    text = f"number {number}"
                    since = monotonic()
                    async with asyncio.timeout(_PATIENCE):
                        result = await sender.send(channel_id, text)
                        assert result.HasField("accepted"), result
                        message = await reader.next("message")
                    self.talk.taken.append(monotonic() - since)
                    assert (message.text, message.seq) == (text, number)
                    await asyncio.sleep(_BETWEEN)

    async def _watch_the_machine(self) -> None:
        while True:
            since = monotonic()
            await asyncio.sleep(0.01)
            self.talk.stalls.append(monotonic() - since - 0.01)
