"""What a `client_message_id` stands for: its first result, and whether a command that comes again is the same."""

from __future__ import annotations

from typing import NamedTuple

from tidings.core.actions import Accepted, Edit, Send
from tidings.core.errors import Code, FieldViolation, Refusal
from tidings.core.reasons import Reason
from tidings.core.values import EntryKind, LogEntry
from tidings.v1 import chat_pb2


class FirstResult(NamedTuple):
    """The result of a command that named itself, and what the command said."""

    accepted: Accepted
    is_edit: bool
    about_seq: int
    """The message that was answered or edited; 0 for none."""
    text: int | None
    """The hash of the text, which may have 400 kB; None once it has left the log."""

    def without_text(self) -> FirstResult:
        """Return the same without the text, which has left the log: from now on any text counts as the same."""
        return self._replace(text=None)

    def check_same(self, action: Send | Edit) -> None:
        """Refuse a command that says something else under the same name.

        Raises:
            Refusal: ALREADY_EXISTS naming the seq of the first.
        """
        again = of_action(self.accepted, action)
        if again == self or (self.text is None and again.without_text() == self):
            return
        first_seq = self.accepted.seq
        description = f"event {first_seq} has this name and other contents: give what is new a name of its own"
        field = f"{'edit' if again.is_edit else 'send'}_message.client_message_id"
        raise Refusal(
            Code.ALREADY_EXISTS,
            f"{field}: {description}",
            reason=Reason.CLIENT_MESSAGE_ID_REUSED,
            violations=(FieldViolation(field, description),),
            metadata={"first_seq": str(first_seq)},
        )


def of_action(accepted: Accepted, action: Send | Edit) -> FirstResult:
    """Make the first result of a command that has just been carried out."""
    if isinstance(action, Send):
        return FirstResult(accepted, False, action.reply_to_seq, hash(action.text))
    return FirstResult(accepted, True, action.seq, hash(action.text))


def of_entry(channel_id: str, entry: LogEntry) -> FirstResult:
    """Make the first result of a command from the entry of the log that it made."""
    event = chat_pb2.Event.FromString(entry.body)
    at = event.message_edited.edited_at if entry.kind is EntryKind.EDIT else event.message.created_at
    accepted = Accepted(channel_id, entry.seq, entry.position, at.ToMilliseconds())
    if entry.kind is EntryKind.EDIT:
        return FirstResult(accepted, True, entry.target_seq, _hash(event.message_edited.text))
    return FirstResult(accepted, False, event.message.reply_to_seq, _hash(event.message.text))


def _hash(text: str) -> int | None:
    # No command has an empty text: it was taken away with a deletion.
    return hash(text) if text else None
