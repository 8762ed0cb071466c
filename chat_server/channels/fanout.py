"""Where a sequencer's new entries go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidings.core.requests import ReplyTo
from tidings.core.values import LogEntry


@dataclass(slots=True, eq=False)
class Item:
    """One new entry of a channel's log, on its way to the people in the channel.

    Args:
        frame: The framed event.
        seq: Its number in the channel.
        position: Its position.
        origin: Who gets the outcome of the request that made it in the event's place; None for nobody.
        entry: The entry as it is stored; None on a server that did not write it.
        created_at_ms: When it was accepted, for the outcome; 0 where it has no origin.
    """

    frame: bytes
    seq: int
    position: int
    origin: ReplyTo | None = None
    entry: LogEntry | None = None
    created_at_ms: int = 0


class Fanout(Protocol):
    """Delivers to the sessions of users, wherever their streams are."""

    def deliver(self, channel_id: str, audience: Collection[str], items: Sequence[Item]) -> None:
        """Deliver new entries to the sessions of some users, and outcomes to the origins of the entries."""

    def send(self, users: Collection[str], frame: bytes) -> None:
        """Send an event that is in no log to the sessions of some users."""
