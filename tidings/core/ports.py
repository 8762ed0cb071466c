"""The ports: what a service asks of an engine, or of another service.

Each engine implements a port once, and one conformance suite a port (tests/conformance) runs on every implementation.
Every method may raise `Refusal` with UNAVAILABLE when its engine is away; nothing has been promised then.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tidings.core.actions import Accepted, Action
from tidings.core.limits import HISTORY_PAGE_BYTES
from tidings.core.rate import Rate
from tidings.core.values import (
    AppendOutcome,
    ChannelSnapshot,
    ChannelView,
    Contact,
    Device,
    LogBatch,
    LogEntry,
    Marks,
    MessageRow,
    Presence,
    PushProvider,
    PushRead,
    PushRequest,
    PushToken,
    SeqRange,
    Server,
    ServerKind,
    User,
)

# --- accounts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the hash that a password must match."""

    user: User
    password_hash: str


class UsernameTaken(Exception):  # noqa: N818 - an outcome, not a malfunction
    """Somebody has that username."""


class TooManyDevices(Exception):  # noqa: N818
    """The user has as many devices as allowed."""


class RefreshTokenReused(Exception):  # noqa: N818
    """A refresh token came that was spent before; the device's sign-in has ended."""


class AccountStore(abc.ABC):
    """Users, their devices, their refresh tokens. Tokens come and are kept as hashes only."""

    @abc.abstractmethod
    async def create_user(self, user: User, password_hash: str, device: Device, refresh_hash: bytes) -> None:
        """Keeps a new user with a first device.

        Raises:
            UsernameTaken: The username (folded to lower case) exists.
        """

    @abc.abstractmethod
    async def credentials(self, username: str) -> Credentials | None:
        """What signing in as `username` (lower case) needs."""

    @abc.abstractmethod
    async def password_hash(self, user_id: str) -> str | None:
        """The hash that a user's password must match."""

    @abc.abstractmethod
    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Those of the users that exist, by id."""

    @abc.abstractmethod
    async def search(self, prefix: str, after: str, limit: int, asked_by: str) -> Sequence[User]:
        """Users whose username or display name begins with `prefix` (lower case, both compared ignoring case).

        Ordered by username, only those with a username greater than `after`, without people who blocked `asked_by`.
        """

    @abc.abstractmethod
    async def update_profile(self, user_id: str, display_name: str | None, about: str | None) -> User:
        """Changes what is not None and returns the user as it is then.

        Raises:
            Refusal: NOT_FOUND when there is no such user.
        """

    @abc.abstractmethod
    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, keep_device_id: str, now_ms: int
    ) -> Sequence[str] | None:
        """Changes the password and revokes every device but one.

        Returns:
            The ids of the devices revoked, or None when `old_hash` is no longer the user's: nothing has changed then.
        """

    @abc.abstractmethod
    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Keeps another hash of the same password, unless the password has changed meanwhile; revokes nothing."""

    @abc.abstractmethod
    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        """Signs a device in: the one of the user's that has this id (also one that was signed out comes back).

        Any other id, the empty one too, makes a new device with an id of its own. `refresh_hash` is then the device's
        only refresh token.

        Returns:
            The device as kept: one that is known keeps its name, platform and creation time.

        Raises:
            TooManyDevices: It is not signed in, and `most` of the user's are.
        """

    @abc.abstractmethod
    async def rotate_refresh_token(self, spent_hash: bytes, new_hash: bytes, now_ms: int) -> Device | None:
        """Spends a refresh token and keeps the new one.

        Spending it again for the same new one, as long as that is unspent, is the same again.

        Returns:
            The device it signs in, or None when the token is unknown or its device revoked.

        Raises:
            RefreshTokenReused: It was spent before, for another one, within the last 30 days at least. Its device is
                revoked now; `args[0]` is the device's id.
        """

    @abc.abstractmethod
    async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> bool:
        """Makes `new_hash` the device's only refresh token; False, and nothing done, when it is not signed in."""

    @abc.abstractmethod
    async def devices(self, user_id: str) -> Sequence[Device]:
        """The user's devices that are signed in, oldest first."""

    @abc.abstractmethod
    async def revoke_device(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """Signs a device out and forgets its refresh and push tokens; False when the user has no such device."""

    @abc.abstractmethod
    async def revoked_since(self, ms: int) -> Mapping[str, int]:
        """Devices revoked after a moment, with the moment: their access tokens from before it must not work."""


class ContactStore(abc.ABC):
    """Who has whom in their contacts, and who blocks whom."""

    @abc.abstractmethod
    async def add(self, user_id: str, contact_id: str, now_ms: int) -> int:
        """Adds a contact; returns when it was added first, in ms since 1970."""

    @abc.abstractmethod
    async def remove(self, user_id: str, contact_id: str) -> None:
        """Removes a contact, if there."""

    @abc.abstractmethod
    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """A user's contacts by username."""

    @abc.abstractmethod
    async def watchers(self, user_id: str) -> Collection[str]:
        """The users who have `user_id` in their contacts."""

    @abc.abstractmethod
    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        """Blocks somebody."""

    @abc.abstractmethod
    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """Lifts a block, if there."""

    @abc.abstractmethod
    async def blocked(self, user_id: str) -> Sequence[User]:
        """Whom a user blocks, by username."""

    @abc.abstractmethod
    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """Those of `others` whom the user blocks or who block the user."""

    @abc.abstractmethod
    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """Those of `others` who are a contact of the user's, have the user as contact, or share a channel with them."""


# --- channels ---------------------------------------------------------------------------------------------------------


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


class DeviceStreams(abc.ABC):
    """The live streams of devices."""

    @abc.abstractmethod
    async def end_devices(self, device_ids: Collection[str]) -> None:
        """Ends the streams of devices that have been signed out, at once, and refuses their access tokens."""


# --- push -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DevicePush:
    """One device to wake for one channel: a `PushRequest` on its way to one of the person's devices."""

    request: PushRequest
    device_id: str
    provider: PushProvider


@dataclass(frozen=True, slots=True)
class QueuedPush:
    """A push in the queue, how many attempts have failed, and since when it waits (ms since 1970)."""

    push_id: int
    push: DevicePush
    attempts: int
    queued_at_ms: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A push that was given up: after how many attempts, why, and when (ms since 1970)."""

    push_id: int
    push: DevicePush
    attempts: int
    error: str
    died_at_ms: int


@dataclass(frozen=True, slots=True)
class PushQueueDepth:
    """How many pushes wait, how many were given up, and since when the oldest waits (ms since 1970; 0 for none)."""

    waiting: int
    dead: int
    oldest_ms: int


class PushQueue(abc.ABC):
    """Pushes on stable storage, each for one device, so that no device and no provider waits for another.

    A device has at most one push a channel waiting, the one for the latest message: what is kept for a device and
    channel replaces what waits for them, whether that was tried before or not. A push that is under way (claimed, its
    lease not over) is left alone, and forgotten if it fails after a later one has been kept. Of two with the same seq a
    silent one is the later (`PushRequest.rank`).
    """

    @abc.abstractmethod
    async def enqueue(self, pushes: Sequence[DevicePush], now_ms: int) -> None:
        """Keeps pushes, due at once; returns when they are on stable storage.

        One that is not later than a push which the queue holds for its device and channel changes nothing, so that
        enqueueing again does no harm.
        """

    @abc.abstractmethod
    async def cancel(self, device_ids: Collection[str], channel_id: str, upto_seq: int) -> int:
        """Forgets what waits for some devices and a channel, up to and including a seq.

        What is under way is left alone.

        Returns:
            How many pushes those were.
        """

    @abc.abstractmethod
    async def claim(self, provider: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        """Takes a provider's due pushes, those first that have been due longest.

        Nobody else gets them until the lease is over; unless they are finished by then, they are due again.
        """

    @abc.abstractmethod
    async def next_due_ms(self, provider: PushProvider) -> int | None:
        """When the provider's next push is due, those under way counted with the end of their lease; None for none."""

    @abc.abstractmethod
    async def done(self, push_id: int) -> None:
        """The push has been sent, or there is nobody to send it to."""

    @abc.abstractmethod
    async def retry(self, push_id: int, at_ms: int, *, failed: bool = True) -> None:
        """The push is due again at a moment: an attempt failed, or (not `failed`) there was none that counts."""

    @abc.abstractmethod
    async def give_up(self, push_id: int, error: str, now_ms: int) -> None:
        """An attempt failed, and it was the last: the push goes to the dead letters.

        Of a device and channel only the latest push is there.
        """

    @abc.abstractmethod
    async def depth(self) -> PushQueueDepth:
        """How full the queue is."""

    @abc.abstractmethod
    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """The pushes that were given up, the latest first."""

    @abc.abstractmethod
    async def replay(self, push_id: int, now_ms: int) -> bool:
        """Takes a dead letter back into the queue as if it were new; False when there is none of that id."""

    @abc.abstractmethod
    async def drop(self, push_id: int) -> bool:
        """Forgets a dead letter; False when there is none of that id."""


class PushTokenStore(abc.ABC):
    """Where to reach devices."""

    @abc.abstractmethod
    async def set(self, token: PushToken) -> None:
        """Keeps a device's token in place of an earlier one."""

    @abc.abstractmethod
    async def remove(self, device_id: str, token: str | None = None) -> None:
        """Forgets a device's token; given `token`, only if it is that one still."""

    @abc.abstractmethod
    async def of_device(self, device_id: str) -> PushToken | None:
        """A device's token."""

    @abc.abstractmethod
    async def of_users(self, user_ids: Collection[str]) -> Sequence[PushToken]:
        """The tokens of some users' devices."""


class PushSink(abc.ABC):
    """The way to the notifier."""

    @abc.abstractmethod
    async def enqueue(self, requests: Sequence[PushRequest]) -> None:
        """Returns once the requests are on stable storage."""

    @abc.abstractmethod
    async def cancel(self, reads: Sequence[PushRead]) -> None:
        """Takes back what waits for people who have read it, and lets their devices know silently what is left unread.

        Returns once that is on stable storage.
        """


class PendingPush(abc.ABC):
    """Which channels have messages for which no push has been decided; it survives a crash."""

    @abc.abstractmethod
    async def channels(self) -> Mapping[str, int]:
        """By channel: the first seq not decided yet."""

    @abc.abstractmethod
    async def decided(self, channel_id: str, next_seq: int | None) -> None:
        """Everything below `next_seq` has been decided; None: everything, until a batch wakes the channel again."""


# --- presence ---------------------------------------------------------------------------------------------------------


class PresenceStore(abc.ABC):
    """The last heartbeat of every device. Soft: wiped, it is whole again after one heartbeat of each."""

    @abc.abstractmethod
    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        """Notes a sign of life; True when the user was offline until now."""

    @abc.abstractmethod
    async def leave(self, device_id: str, now_ms: int) -> str | None:
        """Forgets a device, if there; returns its user when they are offline thereby."""

    @abc.abstractmethod
    async def expire(self, before_ms: int) -> Sequence[str]:
        """Forgets devices whose last heartbeat is older than a moment; returns the users who are offline thereby.

        Each user is returned to one caller only, however many presence servers ask.
        """

    @abc.abstractmethod
    async def presences(self, user_ids: Collection[str]) -> Mapping[str, Presence]:
        """The state of each user asked for."""


class PresencePubSub(abc.ABC):
    """Changes of presence, from the server that learns of one to those that serve the people concerned."""

    @abc.abstractmethod
    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        """Tells `watchers` of a change."""

    @abc.abstractmethod
    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Calls `notify` for every change that concerns a user and is published from the return on.

        Args:
            user_id: Who is concerned.
            notify: Takes a change.
            gap: Called when changes may have been missed, by this subscription or by whoever should have published
                them, and are missed no longer. Also called when the heartbeats may have been lost, which are whole
                again after one of each device.

        Returns:
            What ends the subscription.
        """


# --- sessions ---------------------------------------------------------------------------------------------------------


class Routes(abc.ABC):
    """Which chat servers hold sessions of whom. Soft: whoever wrote into it writes it again when it was lost."""

    @abc.abstractmethod
    async def add(self, user_id: str, server_id: str) -> None:
        """Notes that a server holds a session of a user. That is forgotten some time after, unless refreshed."""

    @abc.abstractmethod
    async def remove(self, user_id: str, server_id: str) -> None:
        """Notes that a server holds no session of a user any more."""

    @abc.abstractmethod
    async def refresh(self, server_id: str, user_ids: Collection[str]) -> None:
        """Notes that a server holds sessions of these users, still or again; it forgets none of the others."""

    @abc.abstractmethod
    async def lookup(self, user_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """The servers that hold sessions of any of the users, with those of the users; each id is given once.

        Raises:
            Refusal: UNAVAILABLE when that is not known of all of them.
        """

    @abc.abstractmethod
    async def epoch(self) -> str:
        """A word that changes when routes may have been lost.

        A server reads it before it adds its first route, and every second from then on; when it has changed, the
        server refreshes all its sessions.
        """


class SignOutPubSub(abc.ABC):
    """Devices that have been signed out, told to all servers at once.

    News may be lost; the truth is `AccountStore.revoked_since`, which whoever subscribes asks now and then as well.
    """

    @abc.abstractmethod
    async def publish(self, device_ids: Collection[str], at_ms: int) -> None:
        """Tells of devices whose access tokens from before a moment must not work."""

    @abc.abstractmethod
    async def subscribe(
        self, notify: Callable[[Collection[str], int], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Calls `notify` with whatever is published from the return on.

        Args:
            notify: Takes the ids and the moment.
            gap: Called when news may have been missed and are missed no longer: the time to ask for the truth.

        Returns:
            What ends the subscription.
        """


class SharedRates(abc.ABC):
    """Token buckets that all servers share, beside those that each has of its own (`tidings.core.rate`). Soft."""

    @abc.abstractmethod
    async def take(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """Takes `count` tokens of a key's bucket, or none of them.

        Returns:
            0 when they were there, else the seconds until they will be.
        """

    @abc.abstractmethod
    async def wait(self, key: str, rate: Rate, count: float = 1.0) -> float:
        """The seconds until a key's bucket has `count` tokens: 0 when it has. Takes none."""


# --- discovery --------------------------------------------------------------------------------------------------------


class Registry(abc.ABC):
    """The servers alive."""

    @abc.abstractmethod
    async def register(self, server: Server) -> None:
        """Enters a server, or what has changed of it."""

    @abc.abstractmethod
    async def unregister(self, server_id: str, kind: ServerKind) -> None:
        """Takes a server out."""

    @abc.abstractmethod
    def servers(self, kind: ServerKind) -> Sequence[Server]:
        """The servers of a kind in the latest view, ordered by server_id; answers without asking anyone."""

    @abc.abstractmethod
    def watch(self, kind: ServerKind) -> AsyncIterator[Sequence[Server]]:
        """The servers of a kind, now and after every change."""


class WorkerIds(abc.ABC):
    """Numbers for the servers that give out positions: no two servers alive have the same."""

    @abc.abstractmethod
    async def take(self, lost: Callable[[], None]) -> int:
        """Takes a free number, and holds it for as long as the process lives.

        A process that was paused, or could not reach the others, for longer than a dead one is waited for loses it:
        `lost` is called, once, as soon as it finds out; it may take another then. While nobody can be reached, it
        keeps its number, and so may another get that for a moment: what must never happen twice is not to rest on it.

        Returns:
            0 to `MAX_WORKER_ID`.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when none is free.
        """

    @abc.abstractmethod
    async def release(self) -> None:
        """Gives the number back, if one is held; `lost` is not called."""


class Recommender(abc.ABC):
    """Which servers to use."""

    @abc.abstractmethod
    def recommend(
        self,
        kind: ServerKind,
        region: str = "",
        coordinates: tuple[float, float] | None = None,
        exclude: Collection[str] = (),
    ) -> Sequence[Server]:
        """The servers of a kind that suit somebody, best first; none when there is none.

        Args:
            kind: What they are to serve.
            region: Where the caller is; empty when unknown.
            coordinates: Where exactly: latitude and longitude in degrees.
            exclude: The ids of servers that come last.
        """
