"""What people ask of a channel, as values: the same whether it came over a stream or a call."""

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
    """Make the channel with the actor and these members; one that exists already is left as it is."""

    kind: ChannelKind
    title: str
    member_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add people to a group."""

    member_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Put somebody out of a group."""

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
    """Read again what is kept beside the log."""


@dataclass(frozen=True, slots=True)
class ShowTyping:
    """Show the others that the actor is typing, or stopped."""

    typing: bool


Aside = Refresh | ShowTyping
"""What is asked of a channel's owner and is in no log."""

Action = Send | Edit | Delete | MarkRead | CreateChannel | AddMembers | RemoveMember | Leave | Retitle | ChangeRole


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an accepted action led to; see `tidings.v1.Accepted`."""

    channel_id: str
    seq: int
    position: int
