"""Users, channels, log entries, pushes, servers and the like, as plain values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Platform(enum.IntEnum):
    """The platform of a device; numbered as in the contract."""

    UNSPECIFIED = 0
    ANDROID = 1
    IOS = 2
    WEB = 3
    DESKTOP = 4
    BOT = 5


class ChannelKind(enum.IntEnum):
    """The kind of a channel; numbered as in the contract."""

    DIRECT = 1
    GROUP = 2


class Role(enum.IntEnum):
    """The role of a member; numbered as in the contract. A higher role may do more."""

    MEMBER = 1
    ADMIN = 2
    OWNER = 3


class EntryKind(enum.IntEnum):
    """The kind of an entry of a channel's log."""

    MESSAGE = 1
    EDIT = 2
    DELETION = 3
    MEMBERSHIP = 4
    TITLE = 5


class ServerKind(enum.IntEnum):
    """The service of a server; numbered as in the contract, which has only the services that clients use."""

    CHAT = 1
    PRESENCE = 2
    API = 3
    DISCOVERY = 4
    NOTIFIER = 100


class PushProvider(enum.IntEnum):
    """The provider that carries a push; numbered as in the contract."""

    FCM = 1
    APNS = 2
    WEB_PUSH = 3
    LOG = 4


class PushPreview(enum.IntEnum):
    """The part of a message that a push shows; numbered as in the contract. A higher value shows more."""

    NONE = 1
    SENDER = 2
    FULL = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a caller, which an access token proves."""

    user_id: str
    device_id: str
    good_until: float
    """The monotonic second at which the token runs out."""
    epoch: int = 0
    """The device's, when the token was issued; see `Device.epoch`."""


@dataclass(frozen=True, slots=True)
class User:
    """A person."""

    user_id: str
    username: str
    display_name: str
    about: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Device:
    """One installation of a client."""

    device_id: str
    user_id: str
    device_name: str
    platform: Platform
    created_at_ms: int
    last_active_at_ms: int
    epoch: int = field(default=0, compare=False)
    """How many refresh tokens it has been given. Its access tokens carry the number, and a sign-out revokes those with
    the number that it has then, or a lower one: no clock decides which tokens are from before a sign-out."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A user in another user's contacts."""

    user: User
    added_at_ms: int


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """The part of a channel that never changes."""

    channel_id: str
    kind: ChannelKind
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a channel."""

    user_id: str
    role: Role
    since_seq: int
    """The first entry of the log that they see."""
    joined_at_ms: int


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """The change of one membership by one entry of the log."""

    user_id: str
    role: Role
    since_seq: int
    joined_at_ms: int
    until_seq: int = 0
    """0 for a present member; else the entry that ended the membership, which is the last that they see."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one member: the last entries that they have received and read."""

    delivered_seq: int = 0
    read_seq: int = 0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of a channel's log, as it is stored."""

    seq: int
    position: int
    kind: EntryKind
    author_id: str
    body: bytes
    """The encoded `tidings.v1.Event`. It is stored as it is sent, so nothing is encoded twice."""
    client_message_id: str = ""
    target_seq: int = 0
    """The message that an edit or a deletion changes; 0 for other kinds."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Consecutive entries for one channel's log, which are written together or not at all."""

    channel_id: str
    entries: tuple[LogEntry, ...]
    created: ChannelRecord | None = None
    """The channel, when the batch makes it."""
    members: tuple[MembershipChange, ...] = ()
    title: str | None = None
    redactions: tuple[tuple[int, bytes], ...] = ()
    """Bodies to replace, by seq: the text of a deleted message leaves the log, and that of an edit behind which there
    is a newer one."""
    wakes_push: bool = False
    """Whether the channel begins to wait for a decision about push. The storage remembers that across a crash, so that
    the next sequencer of the channel makes the decisions that are left."""
    kept: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """For edits and deletions of the batch, by seq: the earlier changes of the same message that keep their text."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is on stable storage."""


@dataclass(frozen=True, slots=True)
class AlreadySent:
    """Nothing was written, because messages of the batch are in the log already."""

    first_results: Mapping[tuple[str, str], tuple[int, int]]
    """Seq and position of these messages, by author and client message id."""


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """Nothing was written, because another server has written that seq. Load the channel again."""


AppendOutcome = Appended | AlreadySent | HeadMoved


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel as the storage has it, from which its sequencer starts."""

    record: ChannelRecord
    title: str
    members: tuple[Member, ...]
    head_seq: int
    head_position: int
    marks: Mapping[str, Marks] = field(default_factory=dict)
    blocked: bool = False
    """Whether either member of a direct channel has blocked the other."""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as one member sees it."""

    snapshot: ChannelSnapshot
    muted: bool
    unread_count: int


@dataclass(frozen=True, slots=True)
class SeqRange:
    """Entries that a user may see: from `first` to `last`, both included. A `last` of 0 means without an end."""

    first: int
    last: int = 0

    def __contains__(self, seq: int) -> bool:
        return self.first <= seq and (self.last == 0 or seq <= self.last)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message of the log, with its latest edit or deletion."""

    message: LogEntry
    latest_change: LogEntry | None


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A push for one user about one channel. A push without a sender is silent: it updates the unread messages."""

    user_id: str
    channel_id: str
    seq: int
    sender_id: str
    preview: str
    created_at_ms: int

    @property
    def silent(self) -> bool:
        """Whether the push shows nothing, because the user has read the channel up to `seq`."""
        return not self.sender_id

    @property
    def rank(self) -> tuple[int, bool]:
        """The order of pushes for one channel, in which reading a message comes after the message."""
        return self.seq, self.silent


@dataclass(frozen=True, slots=True)
class PushRead:
    """A user who has read a channel up to a seq."""

    user_id: str
    channel_id: str
    upto_seq: int


@dataclass(frozen=True, slots=True)
class PushToken:
    """The address of a device at its push provider."""

    device_id: str
    user_id: str
    provider: PushProvider
    token: str
    preview: PushPreview = PushPreview.FULL
    """How much of a message the pushes show at most."""


@dataclass(frozen=True, slots=True)
class Presence:
    """The presence of a user: online or offline."""

    user_id: str
    online: bool
    last_seen_ms: int
    """When a user who is offline was last online, in ms since 1970; 0 when that is not known."""


@dataclass(frozen=True, slots=True)
class Server:
    """A live server."""

    server_id: str
    kind: ServerKind
    endpoint: str
    region: str
    load: float
    latitude: float = 0.0
    longitude: float = 0.0
    draining: bool = False
    internal: str = ""
    """HOST:PORT for other servers; empty when they do not call this server."""
    channels: int = 0
    """How many channels it sequences and has in memory."""
