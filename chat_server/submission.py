"""Something asked of a channel, and who is to hear what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chat_server import wire
from chat_server.session import Session
from tidings.core.actions import Accepted, Action
from tidings.core.errors import Refusal
from tidings.rpc.status import to_status

Outcome = Accepted | Refusal


class Peer(Protocol):
    """Another server, where a session asks."""

    def answer(self, ask_id: int, outcome: Outcome) -> None:
        """Tells it what came of what it asked."""


@dataclass(slots=True, eq=False)
class Submission:
    """What one user asks of one channel.

    The answer goes to a session here, to a peer, or to `answer`. The first two are answered in the place of the event
    that they made, among the other events.
    """

    actor_id: str
    action: Action
    session: Session | None = None
    command_id: int = 0
    answer: Callable[[Outcome], None] | None = None
    peer: Peer | None = None
    ask_id: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the event that this makes is where its answer goes."""
        return self.session is not None or self.peer is not None

    def reply(self, outcome: Outcome) -> None:
        """Answers, in no event's place."""
        if self.answer is not None:
            self.answer(outcome)
        elif self.session is not None:
            self.session.result(self.result(outcome))
        elif self.peer is not None:
            self.peer.answer(self.ask_id, outcome)

    def result(self, outcome: Outcome) -> bytes:
        """The framed CommandResult for the session that asks."""
        if isinstance(outcome, Refusal):
            return wire.refused(self.command_id, to_status(outcome))
        return wire.accepted(self.command_id, outcome)
