"""What a sequencer tells of besides what it hands to the fan-out."""

from __future__ import annotations

from chat_server.channels.rules import Channel, Draft


class SequencerListener:
    """What a sequencer tells of besides what it hands to the fan-out. As it stands, it does nothing."""

    def marked(self, channel: Channel, user_ids: set[str]) -> None:
        """Read marks of these members have moved and are saved."""

    def written(self, channel: Channel, draft: Draft) -> None:
        """A batch is on stable storage."""

    def is_awake(self, channel_id: str) -> bool:
        """Whether a channel is known to wait for a decision about push."""
        return True

    def is_unsaved(self, channel_id: str) -> bool:
        """Whether a channel has receipts that are not saved yet."""
        return False

    def found(self, channel_id: str, first_seq: int) -> None:
        """Entries from `first_seq` on are in the log that this sequencer was not told it had written.

        A batch whose answer was lost, or another server's.
        """
