"""Passwords: hashed with Argon2id in a bounded number of threads."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from tidings.core.errors import unavailable
from tidings.core.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PasswordCost:
    """The cost of one guess at a password; the defaults are OWASP's minimum for Argon2id.

    Args:
        memory_kib: Memory, in KiB.
        iterations: Passes over the memory.
        parallelism: Lanes that could be computed in parallel.
    """

    memory_kib: int = 19 * 1024
    iterations: int = 2
    parallelism: int = 1


class Passwords:
    """Makes and checks the hashes of passwords. Each hash takes some 20 ms of a thread.

    Args:
        cost: The cost of new hashes.
        threads: How many hashes are computed at the same time: bounds memory and CPU.
        most_waiting: How many may wait for their turn before more are refused.
    """

    def __init__(self, cost: PasswordCost | None = None, threads: int = 2, most_waiting: int = 2_000) -> None:
        cost = cost or PasswordCost()
        self._hasher = PasswordHasher(
            time_cost=cost.iterations, memory_cost=cost.memory_kib, parallelism=cost.parallelism, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tidings-password")
        self._most_waiting = most_waiting
        self._waiting = 0
        # What is checked where there is no user: it costs what a check costs, and nothing matches it.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """A new hash of a password.

        Raises:
            Refusal: UNAVAILABLE when too many wait already.
        """
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether a password matches a hash; None, for no user, takes as long and never matches.

        Raises:
            Refusal: UNAVAILABLE when too many wait already.
        """

        def work() -> bool:
            try:
                return self._hasher.verify(password_hash or self._nobody, _normal(password))
            except VerifyMismatchError:
                return False

        return await self._run(work) and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash was made at another cost than new ones."""
        return self._hasher.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """End the threads, once the hashes under way are done."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise unavailable("too many sign-ins at the same time", Reason.TOO_MANY_SIGN_INS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    # The same character may be typed as one code point or as two, depending on the keyboard (RFC 8265).
    return unicodedata.normalize("NFC", password)
