"""Passwords: hashed with Argon2id in a bounded number of threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from api_server.fair_queue import FairQueue
from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason

T = TypeVar("T")

THREADS = max(1, (os.cpu_count() or 2) // 2)
"""Half of the cores: one of two."""
MOST_WAITING = 2_000
MOST_OF_ADDRESS = 128
LONGEST_WAIT = 2.0
"""Seconds in the queue. Whoever still waits then is better told so than kept."""
# About a third of the time where the event loop wants the same core.
_NICE = 5


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

    They wait in a queue that is fair by address: a flood from one address keeps another waiting for one hash. Whoever
    has had no turn in time is refused, and leaves its place to others. The threads have a lower priority than the
    event loop, which messages depend on.

    Args:
        cost: The cost of new hashes.
        threads: How many hashes are computed at the same time: bounds memory and CPU.
        most_waiting: How many may wait for their turn before more are refused.
        most_of_address: The same, from one address.
        longest_wait: Seconds after which whoever has had no turn is refused.
    """

    def __init__(
        self,
        cost: PasswordCost | None = None,
        threads: int = THREADS,
        most_waiting: int = MOST_WAITING,
        most_of_address: int = MOST_OF_ADDRESS,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        cost = cost or PasswordCost()
        self._hasher = PasswordHasher(
            time_cost=cost.iterations, memory_cost=cost.memory_kib, parallelism=cost.parallelism, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tidings-password", initializer=_be_nice)
        self._free = threads
        self._longest_wait = longest_wait
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(most_waiting, most_of_address)
        # What is checked where there is no user: it costs what a check costs, and nothing matches it.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str, address: str) -> str:
        """A new hash of a password.

        Args:
            password: The password.
            address: Whom it is made for, as in all methods: each has its turn.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when too many wait already, or when no turn has come in time.
        """
        return await self._run(lambda: self._hasher.hash(_normal(password)), address)

    async def verify(self, password_hash: str | None, password: str, address: str) -> bool:
        """Whether a password matches a hash; None, for no user, takes as long and never matches.

        Raises:
            Refusal: RESOURCE_EXHAUSTED when too many wait already, or when no turn has come in time.
        """

        def work() -> bool:
            try:
                return self._hasher.verify(password_hash or self._nobody, _normal(password))
            except VerifyMismatchError:
                return False

        return await self._run(work, address) and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash was made at another cost than new ones."""
        return self._hasher.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """End the threads, once the hashes under way are done."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _run(self, work: Callable[[], T], address: str) -> T:
        """Run some work in a thread when it is its turn. Whoever hangs up before has none."""
        loop = asyncio.get_running_loop()
        if self._free:
            self._free -= 1
        else:
            await self._turn(address, loop.create_future())
        running = loop.run_in_executor(self._threads, work)
        # A thread is busy until the hash is made, whether or not anybody still waits for it.
        running.add_done_callback(lambda _: self._next())
        return await running

    async def _turn(self, address: str, turn: asyncio.Future[None]) -> None:
        """Wait in the queue until a thread is free."""
        if not self._queue.add(address, turn):
            raise _too_many()
        try:
            async with asyncio.timeout(self._longest_wait):
                await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if turn.cancelled():
                self._queue.discard(address, turn)
            else:
                self._next()
            if isinstance(error, TimeoutError):
                raise _too_many() from error
            raise

    def _next(self) -> None:
        """Give a thread that is free to the next in the queue."""
        while self._queue:
            turn = self._queue.take()
            # One that was given up a moment ago is about to leave the queue.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _be_nice() -> None:
    """Lower the priority of this thread; Linux has one for each."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _normal(password: str) -> str:
    # The same character may be typed as one code point or as two, depending on the keyboard (RFC 8265).
    return unicodedata.normalize("NFC", password)


def _too_many() -> Refusal:
    return Refusal(
        Code.RESOURCE_EXHAUSTED,
        "too many sign-ins at the same time",
        reason=Reason.TOO_MANY_SIGN_INS,
        retry_after=1.0,
    )
