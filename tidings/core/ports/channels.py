"""Channels: their logs, who is in them, and the way to change them."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence

from tidings.core.actions import Accepted, Action
from tidings.core.limits import HISTORY_PAGE_BYTES
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
    """The logs of the channels: the only place where a message becomes one."""

    ahead_ms: int = 0
    """How far beyond `committed_position` a position may lie that another server has given out, in ms."""

    async def ready(self) -> None:  # noqa: B027 - most engines are
        """Waits until a batch would be written at once: what gathers meanwhile can be in it.

        A hint, which engines give that write one thing at a time; the others are always ready.
        """

    @abc.abstractmethod
    async def append(self, batch: LogBatch) -> AppendOutcome:
        """Writes a batch to stable storage, all or nothing.

        It is written only if the seq before its first is the head and none of its (author, client message id) is in
        the log yet. Within a batch each of these is unique. A batch without entries may carry redactions or nothing at
        all. One that wakes push has entries; a channel that waits for a decision already keeps its earlier seq.
        """

    @abc.abstractmethod
    def batch_capacity(self, head_seq: int) -> int:
        """How many entries may follow `head_seq` in one batch; at least 1."""

    @abc.abstractmethod
    async def load(self, channel_id: str) -> ChannelSnapshot | None:
        """The channel as committed, or None when there is none."""

    @abc.abstractmethod
    async def message_with_changes(self, channel_id: str, seqs: Collection[int]) -> Mapping[int, Sequence[LogEntry]]:
        """For each seq that is a message: the message, then its edits and deletion in order. Others are left out."""

    @abc.abstractmethod
    async def save_marks(self, channel_id: str, position: int, marks: Mapping[str, Marks]) -> None:
        """Keeps the receipts of a channel (all of them), changed at `position`."""

    @abc.abstractmethod
    async def committed_position(self) -> int:
        """A position that nothing written until now is beyond, as far as the clocks of the servers agree."""


class History(abc.ABC):
    """Reading the logs."""

    @abc.abstractmethod
    async def visible(self, channel_id: str, user_id: str) -> Sequence[SeqRange]:
        """Which entries somebody may see, in ascending order; none for somebody who never was in the channel."""

    @abc.abstractmethod
    async def entries(
        self,
        channel_id: str,
        ranges: Sequence[SeqRange],
        before_seq: int,
        after_seq: int,
        limit: int,
        most_bytes: int = HISTORY_PAGE_BYTES,
    ) -> Sequence[LogEntry]:
        """A page of the log within the ranges, ordered by seq.

        With `after_seq` the first entries after it, else the last before `before_seq` (or of all, when that is 0).
        At most `limit` entries, and at most `most_bytes` in their bodies unless one alone has more.
        """

    @abc.abstractmethod
    async def messages(
        self,
        channel_id: str,
        ranges: Sequence[SeqRange],
        before_seq: int,
        after_seq: int,
        limit: int,
        most_bytes: int = HISTORY_PAGE_BYTES,
    ) -> Sequence[MessageRow]:
        """The same for messages only, each with the latest change within the ranges, whose body counts too."""


class Memberships(abc.ABC):
    """Who is in which channels."""

    @abc.abstractmethod
    async def channel_of(self, user_id: str, channel_id: str) -> ChannelView | None:
        """A channel as one of its present members sees it, or None for anyone else."""

    @abc.abstractmethod
    async def channels_of(self, user_id: str, after: tuple[int, str] | None, limit: int) -> Sequence[ChannelView]:
        """The channels that a user is in, by (head_position, channel_id) descending, beginning after `after`."""

    @abc.abstractmethod
    async def set_mute(self, user_id: str, channel_id: str, muted: bool) -> None:
        """Mutes or unmutes a channel for a user."""

    @abc.abstractmethod
    async def muted_by(self, channel_id: str, user_ids: Collection[str]) -> Collection[str]:
        """Those of the users who have muted the channel."""


class ChannelWriter(abc.ABC):
    """The way to change a channel; it leads to whichever server owns it."""

    @abc.abstractmethod
    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        """Carries an action out.

        Returns:
            Once it is on stable storage.

        Raises:
            Refusal: It is not allowed, or not possible now.
        """

    @abc.abstractmethod
    async def refresh(self, channel_id: str) -> None:
        """Makes the owner take notice of a change that is in no log: a block, say."""
