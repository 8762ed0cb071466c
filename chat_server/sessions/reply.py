"""The outcome of a command, for the session that sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chat_server import events
from chat_server.sessions.session import Session
from tidings.core.errors import Refusal
from tidings.core.requests import Outcome
from tidings.rpc.status import to_status


@dataclass(slots=True, eq=False)
class SessionReply:
    """A `ReplyTo` that makes a CommandResult of the outcome.

    Args:
        session: The session that sent the command.
        command_id: The number that the client gave the command.
    """

    in_log_order: ClassVar[bool] = True

    session: Session
    command_id: int

    def reply(self, outcome: Outcome) -> None:
        """See `ReplyTo.reply`."""
        self.session.result(self.frame(outcome))

    def frame(self, outcome: Outcome) -> bytes:
        """The framed CommandResult."""
        if isinstance(outcome, Refusal):
            return events.refused(self.command_id, to_status(outcome))
        return events.accepted(self.command_id, outcome)
