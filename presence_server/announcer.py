"""Announces changes of presence to the people who may see them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from presence_server.visibility import hidden
from tidings.core.errors import Refusal
from tidings.core.ports import ContactStore, PresencePubSub, PresenceStore
from tidings.rpc.tasks import whenever

_log = logging.getLogger(__name__)

_AT_ONCE = 32
_RETRY_SECONDS = 1.0


class Announcer:
    """Publishes changes to those who may see them.

    Publishing and the change of a heartbeat or a block are not one transaction, here or between servers. So no state
    is taken from the caller: an announcement reads the present state, publishes it, and reads again, until it has
    published what it reads. Whoever publishes last has then read after the last change, in whatever order they ran.

    Args:
        store: Has the heartbeats.
        pubsub: Where changes are published.
        contacts: Knows who may see whom.
    """

    def __init__(self, store: PresenceStore, pubsub: PresencePubSub, contacts: ContactStore) -> None:
        self._store = store
        self._pubsub = pubsub
        self._contacts = contacts
        # Whose presence is to be told, and to whom (None: to all who have them as contact). Kept until it is done: a
        # stream that drops in between, or an engine that is away, loses no change.
        self._due: dict[tuple[str, str | None], None] = {}
        self._wake = asyncio.Event()

    def changed(self, users: Iterable[str]) -> None:
        """Note that users have come online or gone offline: the people who have them as contact are to hear it."""
        for user_id in users:
            self._add(user_id, None)

    def relation_changed(self, user_id: str, other_id: str) -> None:
        """Note that two users may see each other differently: one added, removed, blocked or unblocked the other."""
        self._add(user_id, other_id)
        self._add(other_id, user_id)

    async def run(self) -> None:
        """Announce changes as soon as they come, until cancelled."""
        await whenever(self._wake, self.flush, _RETRY_SECONDS)

    async def flush(self) -> None:
        """Announce all that is due. What an absent engine prevents stays due, for the next time."""
        while self._due:
            keys = list(self._due)[:_AT_ONCE]
            for key in keys:
                del self._due[key]
            if not all(await asyncio.gather(*(self._try(*key) for key in keys))):
                return

    def _add(self, user_id: str, watcher: str | None) -> None:
        self._due[user_id, watcher] = None
        self._wake.set()

    async def _try(self, user_id: str, watcher: str | None) -> bool:
        try:
            await self._announce(user_id, watcher)
        except Refusal as refusal:
            _log.warning("a change of presence waits to be announced: %s", refusal)
            self._due[user_id, watcher] = None
            return False
        return True

    async def _announce(self, user_id: str, watcher: str | None) -> None:
        """Publish the present states of some pairs of people, until what was published is what is read."""
        told = None
        shown: set[str] = set()
        while True:
            watchers = set(await self._contacts.watchers(user_id))
            if watcher is not None:
                watchers &= {watcher}
            blocked = set(await self._contacts.blocked_either_way(user_id, watchers)) if watchers else set()
            # The presence is read last, since it changes most.
            presence = (await self._store.presences([user_id]))[user_id]
            found = presence, watchers, blocked
            if found == told:
                return
            if watchers - blocked:
                await self._pubsub.publish(presence, watchers - blocked)
            # Those whom a block separates hear nothing, not even when there is something to hear; but what they have
            # been shown until now has to go.
            hide_from = blocked if watcher is not None else blocked & shown
            if hide_from:
                await self._pubsub.publish(hidden(user_id), hide_from)
            shown |= watchers - blocked
            told = found
