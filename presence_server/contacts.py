"""Contacts whose changes show in presence at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tidings.core.ports import ContactStore
from tidings.core.values import Contact, User


class AnnouncedContacts(ContactStore):
    """A contact store that reports two people who see each other differently, once the change is stored.

    For the services that change contacts; they need not know of presence.

    Args:
        contacts: The store.
        relation_changed: That of a `Tracker` or an `Announcer`.
    """

    def __init__(self, contacts: ContactStore, relation_changed: Callable[[str, str], None]) -> None:
        self._contacts = contacts
        self._relation_changed = relation_changed

    async def add(self, user_id: str, contact_id: str, now_ms: int) -> int:
        """See `ContactStore.add`."""
        added = await self._contacts.add(user_id, contact_id, now_ms)
        self._relation_changed(user_id, contact_id)
        return added

    async def remove(self, user_id: str, contact_id: str) -> None:
        """See `ContactStore.remove`."""
        await self._contacts.remove(user_id, contact_id)
        self._relation_changed(user_id, contact_id)

    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """See `ContactStore.contacts`."""
        return await self._contacts.contacts(user_id)

    async def contact_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.contact_count`."""
        return await self._contacts.contact_count(user_id, besides)

    async def watchers(self, user_id: str) -> Collection[str]:
        """See `ContactStore.watchers`."""
        return await self._contacts.watchers(user_id)

    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        """See `ContactStore.block`."""
        await self._contacts.block(user_id, blocked_id, now_ms)
        self._relation_changed(user_id, blocked_id)

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """See `ContactStore.unblock`."""
        await self._contacts.unblock(user_id, blocked_id)
        self._relation_changed(user_id, blocked_id)

    async def blocked(self, user_id: str) -> Sequence[User]:
        """See `ContactStore.blocked`."""
        return await self._contacts.blocked(user_id)

    async def blocked_count(self, user_id: str, besides: str) -> int:
        """See `ContactStore.blocked_count`."""
        return await self._contacts.blocked_count(user_id, besides)

    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.blocked_either_way`."""
        return await self._contacts.blocked_either_way(user_id, others)

    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """See `ContactStore.related`."""
        return await self._contacts.related(user_id, others)
