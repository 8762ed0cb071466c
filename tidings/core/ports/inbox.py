"""Inboxes: what a device that comes back has missed."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.values import LogEntry, Marks


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """Part of a replay: encoded events in order of position, and how far each channel has come with them."""

    events: Sequence[bytes]
    position: int
    heads: Mapping[str, tuple[int, int]]
    """By channel: the last (position, seq) in this chunk."""


class Replay(abc.ABC):
    """What one user has not seen."""

    first_position: int
    """The position of the oldest event that they have not seen; 0 when they have seen all."""

    @abc.abstractmethod
    def chunks(self) -> AsyncIterator[ReplayChunk]:
        """The events, in chunks of bounded size."""


@dataclass(frozen=True, slots=True)
class InboxCopy:
    """Consecutive new entries of one channel, for the inboxes of all who see them."""

    user_ids: Collection[str]
    channel_id: str
    entries: Sequence[LogEntry]


class Inbox(abc.ABC):
    """Each user's own queue, the source for a device that comes back."""

    @abc.abstractmethod
    async def put(self, copies: Sequence[InboxCopy]) -> None:
        """Puts copies into inboxes; again is no error. An inbox that is a view of the logs has nothing to do."""

    @abc.abstractmethod
    async def replay(self, user_id: str, after: int, upto: int) -> Replay:
        """What concerns the user at positions beyond `after`, up to and including `upto`.

        Where servers with clocks of their own write copies, that comes with what lies up to a minute before `after` and
        some seconds beyond `upto`. A device drops what it has by seq.
        """

    @abc.abstractmethod
    async def receipts_since(self, user_id: str, after: int) -> Mapping[str, Mapping[str, Marks]]:
        """The receipts, by channel and member, of the user's channels where any changed beyond the position `after`."""
