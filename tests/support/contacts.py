from __future__ import annotations

from collections.abc import Collection, Sequence

from tidings.core.errors import unavailable
from tidings.core.ports import ContactStore
from tidings.core.reasons import Reason
from tidings.core.values import Contact, User


class FakeContacts(ContactStore):
    """Contacts in sets, for tests of what reads them. Nobody shares a channel, unless `together` says so."""

    def __init__(self) -> None:
        self.entries: set[tuple[str, str]] = set()
        self.blocks: set[tuple[str, str]] = set()
        self.together: set[frozenset[str]] = set()
        self.is_away = False

    async def add(self, user_id: str, contact_id: str, now_ms: int = 0) -> int:
        self.entries.add((user_id, contact_id))
        return now_ms

    async def remove(self, user_id: str, contact_id: str) -> None:
        self.entries.discard((user_id, contact_id))

    async def contacts(self, user_id: str) -> Sequence[Contact]:
        self._check()
        return [Contact(_user(other), 0) for one, other in sorted(self.entries) if one == user_id]

    async def contact_count(self, user_id: str, besides: str) -> int:
        return sum(one == user_id and other != besides for one, other in self.entries)

    async def watchers(self, user_id: str) -> Collection[str]:
        self._check()
        return {one for one, other in self.entries if other == user_id}

    async def block(self, user_id: str, blocked_id: str, now_ms: int = 0) -> None:
        self.blocks.add((user_id, blocked_id))

    async def unblock(self, user_id: str, blocked_id: str) -> None:
        self.blocks.discard((user_id, blocked_id))

    async def blocked(self, user_id: str) -> Sequence[User]:
        return [_user(other) for one, other in sorted(self.blocks) if one == user_id]

    async def blocked_count(self, user_id: str, besides: str) -> int:
        return sum(one == user_id and other != besides for one, other in self.blocks)

    async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
        self._check()
        return {other for other in others if {(user_id, other), (other, user_id)} & self.blocks}

    async def related(self, user_id: str, others: Collection[str]) -> Collection[str]:
        self._check()
        return {
            other
            for other in others
            if {(user_id, other), (other, user_id)} & self.entries or frozenset((user_id, other)) in self.together
        }

    def _check(self) -> None:
        if self.is_away:
            raise unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)


def _user(user_id: str) -> User:
    return User(user_id, user_id, user_id, "", 0)
