"""The rule of who sees whose presence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tidings.core.ports import ContactStore, PresenceStore
from tidings.core.values import Presence


def hidden(user_id: str) -> Presence:
    """The presence to show of somebody whose presence is hidden: the same as of somebody who never was here."""
    return Presence(user_id, online=False, last_seen_ms=0)


class Visibility:
    """The rule of who sees whom: a block hides both from each other.

    Args:
        contacts: Knows contacts and blocks.
        store: Has the heartbeats.
    """

    def __init__(self, contacts: ContactStore, store: PresenceStore) -> None:
        self._contacts = contacts
        self._store = store

    async def of_contacts(self, viewer: str) -> Mapping[str, Presence]:
        """The state of each of somebody's contacts, as they see it, by user id."""
        contacts = [contact.user.user_id for contact in await self._contacts.contacts(viewer)]
        blocked = set(await self._contacts.blocked_either_way(viewer, contacts)) if contacts else set()
        return await self._shown(contacts, hide=blocked)

    async def of_related(self, viewer: str, user_ids: Collection[str]) -> Mapping[str, Presence]:
        """The state of some people, as somebody sees it, by user id; strangers are hidden too, oneself is not."""
        asked = set(user_ids)
        others = asked - {viewer}
        related = set(await self._contacts.related(viewer, others)) if others else set()
        blocked = set(await self._contacts.blocked_either_way(viewer, related)) if related else set()
        return await self._shown(asked, hide=(others - related) | blocked)

    async def _shown(self, user_ids: Collection[str], hide: Collection[str]) -> Mapping[str, Presence]:
        seen = [user_id for user_id in user_ids if user_id not in hide]
        presences = await self._store.presences(seen) if seen else {}
        return {user_id: presences.get(user_id) or hidden(user_id) for user_id in user_ids}
