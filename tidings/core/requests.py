"""A request to change a channel, its outcome, and where that goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidings.core.actions import Accepted, Action, Aside
from tidings.core.errors import Refusal
from tidings.core.values import Identity

Outcome = Accepted | Refusal
"""The outcome of a request: it was carried out and is on stable storage, or it was refused."""


class ReplyTo(Protocol):
    """The receiver of a request's outcome: a session, another server, or a coroutine that awaits it."""

    @property
    def in_log_order(self) -> bool:
        """Whether the outcome stands in the place of the event that the request made, among the channel's events.

        The code that delivers the events then delivers that outcome too. `reply` is called only for outcomes of
        requests that made no new event.
        """

    def reply(self, outcome: Outcome) -> None:
        """Give the outcome, once."""


@dataclass(slots=True, eq=False)
class ChannelRequest:
    """A request to change a channel, and where its outcome goes.

    Args:
        channel_id: The channel.
        actor_id: The user who makes the request.
        action: What to do.
        reply_to: Where the outcome goes.
        identity: The device that makes it. Once it is signed out, what it has asked for is not carried out any more.
            None where the call that makes the request is waited for before a sign-out is acknowledged.
    """

    channel_id: str
    actor_id: str
    action: Action | Aside
    reply_to: ReplyTo
    identity: Identity | None = None
