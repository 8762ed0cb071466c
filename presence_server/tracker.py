"""Who is online, and which open streams hear of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from presence_server.announcer import Announcer
from presence_server.track import Track
from presence_server.visibility import Visibility
from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal, device_revoked, invalid, unauthenticated, unavailable
from tidings.core.limits import PRESENCE_USERS
from tidings.core.ports import ContactStore, DeviceStreams, PresencePubSub, PresenceStore
from tidings.core.reasons import Reason
from tidings.core.values import Identity, Presence
from tidings.rpc.tasks import periodic

_log = logging.getLogger(__name__)

OFFLINE_AFTER_MS = 30_000
"""How long after a device's last heartbeat it counts as gone."""
_TICK_SECONDS = 1.0
REFRESH_AFTER_SECONDS = 10.0
"""How long after a gap in the news the open streams are told all again. Heartbeats come every 5 s: by then those that
were lost are there again, and nobody is shown offline who is not."""
_REFRESH_A_TICK = 500
_REFRESH_AT_ONCE = 32
_REVOKED = Reason.DEVICE_REVOKED


class Tracker(DeviceStreams):
    """The rules of presence.

    A user is online from the first heartbeat of a device until `OFFLINE_AFTER_MS` have passed without one of any
    device of theirs, or until the last of their devices is signed out. Whether streams are open does not count.

    A change is announced to the people who have the user as contact and are not separated by a block, both as of the
    moment of the announcement: somebody who adds or removes a contact while their stream is open hears of the next
    changes accordingly. What such a step itself shows to people, or hides from them, is announced when
    `relation_changed` is called; `AnnouncedContacts` calls it.

    The composition runs `run` beside the streams, or calls `tick` every second or so.

    Args:
        store: Keeps heartbeats.
        pubsub: Carries changes between servers.
        contacts: Knows who may see whom.
        clock: Tells the time.
    """

    def __init__(self, store: PresenceStore, pubsub: PresencePubSub, contacts: ContactStore, clock: Clock) -> None:
        self._store = store
        self._pubsub = pubsub
        self._clock = clock
        self._visibility = Visibility(contacts, store)
        self._announcer = Announcer(store, pubsub, contacts)
        self._tracks: dict[str, Track] = {}
        # Streams that may have missed something, and the monotonic second from which they are told all again.
        self._stale: dict[Track, None] = {}
        self._refresh_at = 0.0
        self._draining: Refusal | None = None

    def __len__(self) -> int:
        """The number of open streams."""
        return len(self._tracks)

    # --- streams ------------------------------------------------------------------------------------------------------

    async def open(self, identity: Identity) -> Track:
        """Opens a device's stream; an earlier one of the same device ends.

        Returns:
            The stream, with the state of every contact to take from it.

        Raises:
            Refusal: UNAVAILABLE while draining, or when an engine is away.
        """
        if self._draining is not None:
            raise self._draining
        track = Track(identity)
        before = self._tracks.get(identity.device_id)
        if before is not None:
            before.end(Refusal(Code.ABORTED, "the device has opened a newer stream", reason=Reason.SESSION_REPLACED))
        self._tracks[identity.device_id] = track
        try:
            # Subscribed first, so that no change falls between the state and the news.
            track.unsubscribe = await self._pubsub.subscribe(identity.user_id, track.notify, partial(self._gap, track))
            track.begin(await self._visibility.of_contacts(identity.user_id))
        except BaseException:
            self.close(track)
            raise
        return track

    async def beat(self, track: Track) -> None:
        """Notes a heartbeat that came on a stream.

        Raises:
            Refusal: UNAUTHENTICATED when the access token has run out; the reason when the stream has ended.
        """
        self.check(track)
        identity = track.identity
        try:
            came_online = await self._store.beat(identity.user_id, identity.device_id, self._clock.now_ms())
        except Refusal:
            # It may be in the store nevertheless. Announcing what has not changed does no harm.
            self._announcer.changed([identity.user_id])
            raise
        if came_online:
            self._announcer.changed([identity.user_id])
        if track.ended is not None and track.ended.reason == _REVOKED:
            # It was signed out while the heartbeat was on its way: which of both came first is not known.
            await self._leave(identity.device_id)
        self.check(track)

    def check(self, track: Track) -> None:
        """Refuses to go on with a stream that has ended, or whose access token has run out: nothing is told on it then.

        Raises:
            Refusal: Why.
        """
        if track.ended is None and self._clock.monotonic() >= track.identity.good_until:
            track.end(unauthenticated("the access token has run out", Reason.TOKEN_EXPIRED))
        if track.ended is not None:
            raise track.ended

    def close(self, track: Track) -> None:
        """The stream is gone. Its device stays online until its time is over."""
        self._stale.pop(track, None)
        if self._tracks.get(track.identity.device_id) is track:
            del self._tracks[track.identity.device_id]
        if track.unsubscribe is not None:
            track.unsubscribe()
            track.unsubscribe = None

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """See `DeviceStreams.end_devices`: also makes their users offline at once, unless another device is there.

        That their access tokens are refused is the matter of `tidings.rpc.tokens.Revocations`, which has to know first.
        """
        for device_id in revoked:
            track = self._tracks.get(device_id)
            if track is not None:
                track.end(device_revoked())
        for device_id in revoked:
            await self._leave(device_id)

    def drain(self) -> None:
        """Ends all streams and refuses new ones, so that devices go to other servers; nobody goes offline by it."""
        self._draining = unavailable(
            "the server is shutting down; connect again, to another if there is one", Reason.DRAINING
        )
        for track in list(self._tracks.values()):
            track.end(self._draining)

    # --- people -------------------------------------------------------------------------------------------------------

    async def presences(self, viewer: str, user_ids: Sequence[str]) -> Sequence[Presence]:
        """The state of some people now, as `viewer` may see it: one for each id, in that order.

        Raises:
            Refusal: INVALID_ARGUMENT for too many.
        """
        if len(user_ids) > PRESENCE_USERS:
            raise invalid(
                "user_ids",
                f"has {len(user_ids):,} ids, at most {PRESENCE_USERS} are allowed",
                limit=PRESENCE_USERS,
                actual=len(user_ids),
            )
        shown = await self._visibility.of_related(viewer, user_ids)
        return [shown[user_id] for user_id in user_ids]

    def relation_changed(self, user_id: str, other_id: str) -> None:
        """One of two users has added, removed, blocked or unblocked the other, and this is stored: both are told.

        Whoever has the other as contact gets their state as it is to be seen from now on.
        """
        self._announcer.relation_changed(user_id, other_id)

    # --- time ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Notices silence, and announces changes as they come, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announcer.run())
            group.create_task(periodic(_TICK_SECONDS, self.tick, at_once=True))

    async def tick(self) -> None:
        """Notices whose time is over now, and announces all that is due."""
        try:
            # A heartbeat exactly as old as that is too old.
            self._announcer.changed(await self._store.expire(self._clock.now_ms(), OFFLINE_AFTER_MS - 1))
        except Refusal as refusal:
            _log.warning("silent devices are not looked for: %s", refusal)
        await self._announcer.flush()
        if self._stale and self._clock.monotonic() >= self._refresh_at:
            await self._refresh(list(self._stale)[:_REFRESH_A_TICK])

    def _gap(self, track: Track) -> None:
        self._stale[track] = None
        self._refresh_at = self._clock.monotonic() + REFRESH_AFTER_SECONDS

    async def _refresh(self, tracks: Sequence[Track]) -> None:
        for at in range(0, len(tracks), _REFRESH_AT_ONCE):
            await asyncio.gather(*map(self._tell_all, tracks[at : at + _REFRESH_AT_ONCE]))

    async def _tell_all(self, track: Track) -> None:
        if track not in self._stale:
            # Closed meanwhile.
            return
        del self._stale[track]
        track.refresh_begins()
        try:
            track.refresh(await self._visibility.of_contacts(track.identity.user_id))
        except Refusal as refusal:
            _log.warning("a stream waits to be told what it may have missed: %s", refusal)
            if track.unsubscribe is not None:
                self._stale[track] = None

    async def _leave(self, device_id: str) -> None:
        user_id = await self._store.leave(device_id, self._clock.now_ms())
        if user_id is not None:
            self._announcer.changed([user_id])
