"""The things that tidings is about, as plain values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Platform(enum.IntEnum):
    """What a device runs on; numbered as in the contract."""

    UNSPECIFIED = 0
    ANDROID = 1
    IOS = 2
    WEB = 3
    DESKTOP = 4
    BOT = 5


class ChannelKind(enum.IntEnum):
    """What sort of channel it is; numbered as in the contract."""

    DIRECT = 1
    GROUP = 2


class Role(enum.IntEnum):
    """What a member may do; numbered as in the contract, a higher one may do more."""

    MEMBER = 1
    ADMIN = 2
    OWNER = 3


class EntryKind(enum.IntEnum):
    """What an entry of a channel's log says."""

    MESSAGE = 1
    EDIT = 2
    DELETION = 3
    MEMBERSHIP = 4
    TITLE = 5


class ServerKind(enum.IntEnum):
    """What a server serves; numbered as in the contract, which knows only those that clients use."""

    CHAT = 1
    PRESENCE = 2
    API = 3
    DISCOVERY = 4
    NOTIFIER = 100


class PushProvider(enum.IntEnum):
    """Who carries a push; numbered as in the contract."""

    FCM = 1
    APNS = 2
    WEB_PUSH = 3
    LOG = 4


class PushPreview(enum.IntEnum):
    """What a push shows of a message; numbered as in the contract, a higher one shows more."""

    NONE = 1
    SENDER = 2
    FULL = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling: what an access token proves."""

    user_id: str
    device_id: str
    expires_at_ms: int


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


@dataclass(frozen=True, slots=True)
class Contact:
    """A user in somebody's contacts."""

    user: User
    added_at_ms: int


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """What never changes about a channel."""

    channel_id: str
    kind: ChannelKind
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """One person in a channel. `since_seq` is the first entry of the log that they see."""

    user_id: str
    role: Role
    since_seq: int
    joined_at_ms: int


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """What one entry of the log does to one member.

    `until_seq` is 0 for one who is in; otherwise the entry that ended the membership, the last that they see.
    """

    user_id: str
    role: Role
    since_seq: int
    joined_at_ms: int
    until_seq: int = 0


@dataclass(frozen=True, slots=True)
class Marks:
    """How far one member has received and read."""

    delivered_seq: int = 0
    read_seq: int = 0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a channel's log, as it is stored."""

    seq: int
    position: int
    kind: EntryKind
    author_id: str
    body: bytes
    """The encoded `tidings.v1.Event`: what is stored is what is sent, so nothing is encoded twice."""
    client_message_id: str = ""
    target_seq: int = 0
    """The message that an edit or a deletion changes."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Consecutive entries for one channel's log, to be written together or not at all."""

    channel_id: str
    entries: tuple[LogEntry, ...]
    created: ChannelRecord | None = None
    """Present when the batch makes the channel."""
    members: tuple[MembershipChange, ...] = ()
    title: str | None = None
    redactions: tuple[tuple[int, bytes], ...] = ()
    """Bodies to replace, by seq: the text of a deleted message leaves the log."""
    wakes_push: bool = False
    """Whether the channel goes from having nothing undecided to having something: remembered across a crash, so that
    whoever owns the channel next takes up what was left undone."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is on stable storage."""


@dataclass(frozen=True, slots=True)
class AlreadySent:
    """Nothing was written: these (author, client message id) are in the log already, at that seq and position."""

    first_results: Mapping[tuple[str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """Nothing was written: somebody else has written that seq. Load the channel again."""


AppendOutcome = Appended | AlreadySent | HeadMoved


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel as the storage has it: what its owner starts from."""

    record: ChannelRecord
    title: str
    members: tuple[Member, ...]
    head_seq: int
    head_position: int
    marks: Mapping[str, Marks] = field(default_factory=dict)
    blocked: bool = False
    """In a direct channel: whether either has blocked the other."""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as one member sees it."""

    snapshot: ChannelSnapshot
    muted: bool
    unread_count: int


@dataclass(frozen=True, slots=True)
class SeqRange:
    """Entries that somebody may see: from `first` to `last`, both included; `last` 0 means on and on."""

    first: int
    last: int = 0

    def __contains__(self, seq: int) -> bool:
        return self.first <= seq and (self.last == 0 or seq <= self.last)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message of the log and the latest edit or deletion of it."""

    message: LogEntry
    latest_change: LogEntry | None


@dataclass(frozen=True, slots=True)
class PushRequest:
    """One person to wake for one channel; with nobody as the sender, one to tell silently what is left unread there."""

    user_id: str
    channel_id: str
    seq: int
    sender_id: str
    preview: str
    created_at_ms: int

    @property
    def silent(self) -> bool:
        """Whether there is nothing to show: the person has read the channel up to `seq`."""
        return not self.sender_id

    @property
    def rank(self) -> tuple[int, bool]:
        """What tells which of two for one channel is the later: a message is read after it was written."""
        return self.seq, self.silent


@dataclass(frozen=True, slots=True)
class PushRead:
    """One person who has read a channel, up to a seq."""

    user_id: str
    channel_id: str
    upto_seq: int


@dataclass(frozen=True, slots=True)
class PushToken:
    """Where a device's push goes."""

    device_id: str
    user_id: str
    provider: PushProvider
    token: str
    preview: PushPreview = PushPreview.FULL
    """The most that its pushes show."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a user is online; when they were last, where known (0 when not, and while they are)."""

    user_id: str
    online: bool
    last_seen_ms: int


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
    """Where other servers reach it: HOST:PORT; empty when they do not."""
    channels: int = 0
    """How many channels it owns and has in memory."""
