"""Contacts and blocks."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence

from tidings.core.values import Contact, User


class ContactStore(abc.ABC):
    """The contacts and the blocks of users."""

    @abc.abstractmethod
    async def add(self, user_id: str, contact_id: str, now_ms: int) -> int:
        """Add a contact; return when it was first added, in ms since 1970."""

    @abc.abstractmethod
    async def remove(self, user_id: str, contact_id: str) -> None:
        """Remove a contact, if it is there."""

    @abc.abstractmethod
    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """Return a user's contacts, by username."""

    @abc.abstractmethod
    async def contact_count(self, user_id: str, besides: str) -> int:
        """Return how many contacts a user has besides one. It costs the same however many there are."""

    @abc.abstractmethod
    async def watchers(self, user_id: str) -> Collection[str]:
        """Return the users who have a user in their contacts."""

    @abc.abstractmethod
    async def block(self, user_id: str, blocked_id: str, now_ms: int) -> None:
        """Block a user."""

    @abc.abstractmethod
    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """Lift a block, if it is there."""

    @abc.abstractmethod
    async def blocked(self, user_id: str) -> Sequence[User]:
        """Return the users whom a user blocks, by username."""

    @abc.abstractmethod
    async def blocked_count(self, user_id: str, besides: str) -> int:
        """Return how many users a user blocks besides one. It costs the same however many there are."""

    @abc.abstractmethod
    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """Return those of `others` whom a user blocks or who block the user."""

    @abc.abstractmethod
    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        """Return those of `others` who are a contact of a user, have the user as a contact, or share a channel."""
