"""The outcome of a channel request, for a coroutine that awaits it."""

from __future__ import annotations

import asyncio

from tidings.core.actions import Accepted
from tidings.core.errors import Refusal
from tidings.core.requests import Outcome


class FutureReply:
    """A `ReplyTo` whose outcome is awaited. Made where an event loop runs."""

    in_log_order = False

    def __init__(self) -> None:
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def reply(self, outcome: Outcome) -> None:
        """See `ReplyTo.reply`. Nothing happens when nobody awaits it any more."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def accepted(self) -> Accepted:
        """Wait for the outcome.

        Returns:
            The result of the request that was carried out.

        Raises:
            Refusal: It was refused.
        """
        outcome = await self._outcome
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome
