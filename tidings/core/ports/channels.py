"""Channels: their logs, who is in them, and the way to change them."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.actions import Accepted, Action
from tidings.core.limits import HISTORY_PAGE_BYTES, HISTORY_PAGE_DEFAULT
from tidings.core.values import (
    AppendOutcome,
    ChannelSnapshot,
    ChannelView,
    LogBatch,
    LogEntry,
    Marks,
    MessageRow,
    SeqRange,
)


class ChannelLog(abc.ABC):
    """The logs of the channels. A message exists once it is in a log."""

    ahead_ms: int = 0
    """How far the position of another server may lie beyond `committed_position`, in ms."""

    async def ready(self) -> None:  # noqa: B027 - an engine that is always ready keeps this
        """Wait until a batch would be written at once.

        A caller that waits can put the actions that come in the meantime into its batch. An engine that limits how many
        writes are under way gives this hint; others are always ready.
        """

    @abc.abstractmethod
    async def append(self, batch: LogBatch) -> AppendOutcome:
        """Write a batch to stable storage, completely or not at all.

        The batch is written only if the seq before its first is the head, and no (author, client message id) of its
        entries is in the log. Within the batch these are unique. A batch without entries may carry redactions, or
        nothing. A batch that wakes push has entries; a channel that waits for a decision already keeps its earlier seq.
        """

    @abc.abstractmethod
    def batch_capacity(self, head_seq: int) -> int:
        """Return how many entries may follow `head_seq` in one batch; at least 1."""

    @abc.abstractmethod
    async def load(self, channel_id: str) -> ChannelSnapshot | None:
        """Return a channel as it is committed; None when there is no such channel."""

    @abc.abstractmethod
    async def message_with_changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        """Return messages with those of their changes that have not lost their text.

        Args:
            channel_id: The channel.
            seqs: The messages. A seq that is no message is left out of the result.

        Returns:
            By seq: the message, then in order its edits whose text is still in the log, and its deletion.
        """

    @abc.abstractmethod
    async def entries_at(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, LogEntry]:
        """Return some entries of a log, by seq; those that do not exist are left out. No seq is beyond the head."""

    @abc.abstractmethod
    async def save_marks(self, channel_id: str, position: int, marks: Mapping[str, Marks]) -> None:
        """Save the receipts of all members of a channel, which changed at a position."""

    @abc.abstractmethod
    async def committed_position(self) -> int:
        """Return a position that is not less than that of any entry written so far, if the servers' clocks agree."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a log: the first entries after a seq, or else the last ones before a seq."""

    before_seq: int = 0
    """The page ends before this entry; 0 for the end of the log."""
    after_seq: int | None = None
    """The page begins after this entry, and at the beginning of the log for 0; None for a page that ends somewhere."""
    limit: int = HISTORY_PAGE_DEFAULT
    """At most so many entries."""
    most_bytes: int = HISTORY_PAGE_BYTES
    """At most so many bytes in the bodies, unless one entry alone has more."""

    @property
    def upwards(self) -> bool:
        """Whether the page takes the first entries that there are, not the last ones."""
        return self.after_seq is not None


class History(abc.ABC):
    """Pages of the logs."""

    @abc.abstractmethod
    async def visible(self, channel_id: str, user_id: str) -> Sequence[SeqRange]:
        """Return which entries a user may see, in ascending order; none for a user who never was in the channel."""

    @abc.abstractmethod
    async def entries(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[LogEntry]:
        """Return a page of the log within the ranges, ordered by seq."""

    @abc.abstractmethod
    async def messages(self, channel_id: str, ranges: Sequence[SeqRange], page: PageRequest) -> Sequence[MessageRow]:
        """Return a page of messages alone, each with its latest change within the ranges, whose body counts too."""


class Memberships(abc.ABC):
    """The channels of users, and their members."""

    @abc.abstractmethod
    async def channel_of(self, user_id: str, channel_id: str) -> ChannelView | None:
        """Return a channel as one of its present members sees it; None for any other user."""

    @abc.abstractmethod
    async def channels_of(self, user_id: str, after: tuple[int, str] | None, limit: int) -> Sequence[ChannelView]:
        """Return the channels that a user is in, by (head_position, channel_id) descending, beginning after `after`."""

    @abc.abstractmethod
    async def channel_counts(self, user_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many channels each of some users is in, also for users who do not exist."""

    @abc.abstractmethod
    async def owned_count(self, user_id: str) -> int:
        """Return how many groups a user owns."""

    @abc.abstractmethod
    async def set_mute(self, user_id: str, channel_id: str, muted: bool) -> None:
        """Mute or unmute a channel for a user."""

    @abc.abstractmethod
    async def muted_by(self, channel_id: str, user_ids: Collection[str]) -> Collection[str]:
        """Return those of the users who have muted a channel."""


class ChannelWriter(abc.ABC):
    """Changes channels, through whichever server sequences each."""

    @abc.abstractmethod
    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        """Carry an action out. It returns once the change is on stable storage.

        Raises:
            Refusal: The action is not allowed, or not possible now.
        """

    @abc.abstractmethod
    async def refresh(self, channel_id: str) -> None:
        """Make the sequencer read a change that is in no log, such as a block."""
