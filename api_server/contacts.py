"""The rules of contacts and blocks."""

from __future__ import annotations

from collections.abc import Sequence

from tidings.core.clock import Clock
from tidings.core.errors import invalid, not_found, precondition
from tidings.core.ids import direct_channel_id
from tidings.core.limits import BLOCKED_USERS, CONTACTS
from tidings.core.ports import AccountStore, ChannelWriter, ContactStore
from tidings.core.reasons import Reason
from tidings.core.values import Contact, User
from tidings.rpc.tasks import to_the_end


class Contacts:
    """Contacts and blocks. `ContactService` in the contract says what each method promises.

    Args:
        store: Keeps them.
        accounts: Knows which users exist.
        writer: Tells the sequencer of a direct channel about a block.
        clock: Tells the time.
    """

    def __init__(self, store: ContactStore, accounts: AccountStore, writer: ChannelWriter, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._writer = writer
        self._clock = clock

    async def add(self, user_id: str, contact_id: str) -> Contact:
        """Adds somebody to a user's contacts; again is no error.

        Raises:
            Refusal: NOT_FOUND when there is no such user, INVALID_ARGUMENT for oneself, FAILED_PRECONDITION when there
                are as many as allowed; those added at the same time are not counted.
        """
        contact = await self._other(user_id, contact_id)
        others = await self._store.contact_count(user_id, contact_id)
        _check_room(others, CONTACTS, "contacts", Reason.TOO_MANY_CONTACTS)
        return Contact(contact, await self._store.add(user_id, contact_id, self._clock.wall_ms()))

    async def remove(self, user_id: str, contact_id: str) -> None:
        """Remove somebody from a user's contacts, if there."""
        await self._store.remove(user_id, contact_id)

    async def contacts(self, user_id: str) -> Sequence[Contact]:
        """List a user's contacts by username."""
        return await self._store.contacts(user_id)

    async def blocked(self, user_id: str) -> Sequence[User]:
        """List the people whom a user blocks, by username."""
        return await self._store.blocked(user_id)

    async def block(self, user_id: str, blocked_id: str) -> None:
        """Blocks somebody; again is no error.

        Returns:
            Once their direct channel, too, knows.

        Raises:
            Refusal: NOT_FOUND when there is no such user, INVALID_ARGUMENT for oneself, FAILED_PRECONDITION when as
                many as allowed are blocked; those blocked at the same time are not counted.
        """
        await self._other(user_id, blocked_id)
        others = await self._store.blocked_count(user_id, blocked_id)
        _check_room(others, BLOCKED_USERS, "blocked users", Reason.TOO_MANY_BLOCKED)
        await to_the_end(self._block(user_id, blocked_id))

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        """Lift a block, if there."""
        await to_the_end(self._unblock(user_id, blocked_id))

    async def _block(self, user_id: str, blocked_id: str) -> None:
        await self._store.block(user_id, blocked_id, self._clock.now_ms())
        await self._writer.refresh(direct_channel_id(user_id, blocked_id))

    async def _unblock(self, user_id: str, blocked_id: str) -> None:
        await self._store.unblock(user_id, blocked_id)
        await self._writer.refresh(direct_channel_id(user_id, blocked_id))

    async def _other(self, user_id: str, other_id: str) -> User:
        if other_id == user_id:
            raise invalid("user_id", "must be somebody else, not oneself")
        found = (await self._accounts.users([other_id])).get(other_id)
        if found is None:
            raise not_found("user", "user_id")
        return found


def _check_room(others: int, most: int, what: str, reason: Reason) -> None:
    if others >= most:
        message = f"a user has at most {most:,} {what}: remove one first"
        raise precondition(message, reason, field="user_id", limit=most, actual=others)
