"""Inboxes: the events that a device has missed when it connects again."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.values import LogEntry, Marks


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """Part of a replay: encoded events in order of position."""

    events: Sequence[bytes]
    position: int
    """The position of the last event."""
    heads: Mapping[str, tuple[int, int]]
    """The last (position, seq) of each channel in this chunk."""


class Replay(abc.ABC):
    """The events that one user has not seen."""

    first_position: int
    """The position of the oldest event; 0 when there is none."""

    @abc.abstractmethod
    def chunks(self) -> AsyncIterator[ReplayChunk]:
        """Yield the events, in chunks of bounded size."""


@dataclass(frozen=True, slots=True)
class InboxCopy:
    """Consecutive new entries of one channel, for the inboxes of all users who see them."""

    user_ids: Collection[str]
    channel_id: str
    entries: Sequence[LogEntry]


class Inbox(abc.ABC):
    """A queue of events for each user, from which a device that connects again gets those that it has missed."""

    @abc.abstractmethod
    async def put(self, copies: Sequence[InboxCopy]) -> None:
        """Put copies into inboxes. It may be repeated. An inbox that is a view of the logs has nothing to do."""

    @abc.abstractmethod
    async def replay(self, user_id: str, after: int, upto: int) -> Replay:
        """Begin a replay of a user's events beyond the position `after`, up to and including `upto`.

        If servers with clocks of their own write the copies, the replay also has events from up to a minute before
        `after` and some seconds beyond `upto`. A device drops the events that it has already, by seq.
        """

    @abc.abstractmethod
    async def receipts_since(self, user_id: str, after: int) -> Mapping[str, Mapping[str, Marks]]:
        """Return the receipts of a user's channels, by channel and member, where any changed beyond a position."""
