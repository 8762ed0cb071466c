"""Actions: what a user can do to a channel, as values, whether the request came over a stream or in a call."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.core.values import ChannelKind, Role


@dataclass(frozen=True, slots=True)
class Send:
    """Write a message."""

    client_message_id: str
    text: str
    reply_to_seq: int = 0


@dataclass(frozen=True, slots=True)
class Edit:
    """Change a message's text."""

    seq: int
    text: str
    client_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a message for everyone."""

    seq: int


@dataclass(frozen=True, slots=True)
class MarkRead:
    """Move the actor's read mark."""

    seq: int


@dataclass(frozen=True, slots=True)
class CreateChannel:
    """Make the channel, with the actor and these members. A channel that exists is left as it is."""

    kind: ChannelKind
    title: str
    member_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add people to a group."""

    member_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Remove a member from a group."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a group."""


@dataclass(frozen=True, slots=True)
class Retitle:
    """Give a group another title."""

    title: str


@dataclass(frozen=True, slots=True)
class ChangeRole:
    """Give a member another role."""

    user_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Refresh:
    """Read again the state of a channel that is not in its log, such as blocks."""


@dataclass(frozen=True, slots=True)
class ShowTyping:
    """Show the other members that the actor is typing, or has stopped."""

    typing: bool


Aside = Refresh | ShowTyping
"""A request to a channel's sequencer that leaves nothing in the log."""

AboutMessage = Edit | Delete
"""An action on an earlier message: the rules need that message, with its changes."""

Action = Send | Edit | Delete | MarkRead | CreateChannel | AddMembers | RemoveMember | Leave | Retitle | ChangeRole


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of an accepted action; see `tidings.v1.Accepted`."""

    channel_id: str
    seq: int
    position: int
    created_at_ms: int = 0
    """When it was accepted, by the clock of that moment; 0 where that is not known, and the position tells."""
