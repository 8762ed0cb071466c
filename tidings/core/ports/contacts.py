"""Contacts and blocks."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence

from tidings.core.values import Contact, User


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
