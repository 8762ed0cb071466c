"""A SQLite database: one writer whose commits are shared, several readers, numbered migrations, a lock."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias, TypeVar

from tidings.core.errors import Refusal, unavailable
from tidings.core.reasons import Reason
from tidings.core.search_keys import search_key

T = TypeVar("T")
_Writes: TypeAlias = "list[tuple[Callable[[sqlite3.Connection], object], asyncio.Future[object]]]"
_log = logging.getLogger(__name__)

_APART_SECONDS = 0.002
"""A transaction begins no sooner than this after the one before began; a quiet database commits at once. A commit costs
some 200 us of CPU, most of it the kernel's, however much is in it, and clients that were answered together have written
again after this time. A group of 10 with 8 messages in flight: 23.7 us a delivery instead of 38.3, and 27,600/s instead
of 24,100; pairs: 79 us a message instead of 91."""
_LOCKED_SECONDS = 5.0
"""How long writes wait while another process, such as an operator's `sqlite3`, holds SQLite's write lock."""
_TRY_AGAIN_SECONDS = 0.02
_READERS = 2
_STATEMENTS = 256


class DataFolderError(Exception):
    """The data folder cannot be used; the message is one sentence for the operator."""


class Database:
    """The database file `tidings.db` of a data folder.

    A write is a function that gets the writing connection and returns a result. All writes that wait are run one after
    another in one transaction, each in a savepoint of its own, and answered once that is synced (group commit). The
    next transaction begins when the last has ended, or a moment later when they follow one another. While another
    process holds the write lock, writes wait for it without holding the event loop, and reads go on.

    The constructor opens the database, or makes it, and takes the lock of the folder.

    Args:
        folder: The data folder.
        beside: Whether to open the database beside a server that may be running, without the lock: for an operator's
            look, and for short writes that do not disturb a server. Nothing is made or migrated then.

    Raises:
        DataFolderError: Another process has the lock, the folder cannot be written, or the database is of a newer
            tidings or damaged; with `beside`, there is no database or it is of another tidings.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        self._path = folder / "tidings.db"
        self._lock: int | None = None
        if beside:
            if not self._path.exists():
                raise DataFolderError(f"there is no database in {folder}")
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock = _lock(folder)
            except OSError as error:
                raise DataFolderError(f"the data folder {folder} cannot be used: {error.strerror}") from error
        try:
            self._writer = self._connect()
            if beside:
                _check_schema(self._writer, folder)
            else:
                _migrate(self._writer, folder)
            # From here on the writer runs on the event loop, which must not sleep: `_begin` waits for the lock.
            self._writer.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            raise DataFolderError(f"the database in {folder} cannot be used: {error}") from error
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="tidings-commit")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="tidings-read")
        self._reader = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._waiting: _Writes = []
        self._committing: asyncio.Task[None] | None = None
        self._is_locked = False
        self._between_commits = asyncio.Event()
        self._between_commits.set()
        self._closed = False

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in the next transaction.

        Args:
            work: Executes statements and returns a result. An exception that it raises is raised here, and undoes its
                own statements only. It runs on the event loop's thread, so it must be short.

        Returns:
            The result, once the transaction is synced to disk.

        Raises:
            Refusal: UNAVAILABLE when the disk refuses, or when another process holds the write lock for 5 s; nothing
                was written.
        """
        if self._closed:
            raise unavailable("the storage is closed", Reason.STORAGE_UNAVAILABLE)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, future))  # type: ignore[arg-type]
        if self._committing is None:
            self._committing = loop.create_task(self._commit_waiting())
        return await future

    async def ready(self) -> None:
        """Wait, after a transaction has begun, until the next one is about to begin.

        A batch that is made only then has more in it, so there are fewer batches to commit and to announce: 5 % less
        CPU a message between busy pairs.
        """
        await self._between_commits.wait()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on a reading connection, in one snapshot, in another thread.

        Raises:
            Refusal: UNAVAILABLE when the disk refuses.
        """
        if self._closed:
            raise unavailable("the storage is closed", Reason.STORAGE_UNAVAILABLE)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Finish the writes and reads under way, close the database and release the lock of the folder."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        """Close the connections, the last of which copies the log into the database file and syncs both."""
        self._readers.shutdown()
        self._committer.shutdown()
        for connection in (*self._reader_connections, self._writer):
            connection.close()
        if self._lock is not None:
            os.close(self._lock)

    async def _commit_waiting(self) -> None:
        """Commit what waits, group by group, until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                began = loop.time()
                group = await self._begin()
                if group:
                    self._between_commits.clear()
                    await self._commit(group)
                await asyncio.sleep(began + _APART_SECONDS - loop.time())
                # The callers that were answered, and those that wait to write, run first, so that their writes are in
                # the next transaction.
                self._between_commits.set()
                await asyncio.sleep(0)
        finally:
            self._between_commits.set()
            self._committing = None

    async def _begin(self) -> _Writes:
        """Begin a transaction and take the writes that are to be in it; none when all of them had to be refused.

        SQLite would wait for the lock in a thread that sleeps, and this is the event loop's: so it is asked again and
        again instead, and each write is refused once it has waited too long.
        """
        loop = asyncio.get_running_loop()
        late: deque[tuple[float, _Writes]] = deque()
        while True:
            error = self._try_to_begin()
            now = loop.time()
            if self._waiting:
                late.append((now + _LOCKED_SECONDS, self._waiting))
                self._waiting = []
            if error is None:
                return late[0][1] if len(late) == 1 else [write for _, writes in late for write in writes]
            while late and (late[0][0] <= now or not _is_busy(error)):
                _answer((future, None, _storage_refusal()) for _, future in late.popleft()[1])
            if not late:
                return []
            await asyncio.sleep(_TRY_AGAIN_SECONDS)

    def _try_to_begin(self) -> sqlite3.Error | None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            # Said once for each time, not for each write that is refused.
            if not self._is_locked:
                _log.error("no transaction can begin, so writes wait and are then refused: %s", error)
            self._is_locked = True
            return error
        if self._is_locked:
            _log.warning("transactions begin again")
        self._is_locked = False
        return None

    async def _commit(self, group: _Writes) -> None:
        loop = asyncio.get_running_loop()
        try:
            outcomes = [(future, *self._run(work)) for work, future in group]
            # Only the commit, which waits for the disk, runs in the other thread. Statements that ran there would fight
            # this thread for the interpreter lock, row by row.
            await loop.run_in_executor(self._committer, self._writer.commit)
        except sqlite3.Error as error:
            _log.error("a transaction failed: %s", error)
            if self._writer.in_transaction:
                await loop.run_in_executor(self._committer, self._writer.rollback)
            outcomes = [(future, None, _storage_refusal()) for _, future in group]
        _answer(outcomes)

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> tuple[object, Exception | None]:
        execute = self._writer.execute
        execute("SAVEPOINT work")
        try:
            result = work(self._writer)
        except sqlite3.OperationalError:
            # Disk full, I/O error: the whole transaction is in doubt.
            raise
        except Exception as error:
            execute("ROLLBACK TO work")
            execute("RELEASE work")
            return None, error
        execute("RELEASE work")
        return result, None

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._reader, "connection", None)
        try:
            if connection is None:
                connection = self._reader.connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
                self._reader_connections.append(connection)
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.rollback()
        except sqlite3.OperationalError as error:
            _log.error("a read failed: %s", error)
            raise _storage_refusal() from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit returns once the log is on the disk: "accepted means kept".
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA busy_timeout = 5000")
        return connection


def _answer(outcomes: Iterable[tuple[asyncio.Future[object], object, Exception | None]]) -> None:
    for future, result, failure in outcomes:
        if future.cancelled():
            continue
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


def _is_busy(error: sqlite3.Error) -> bool:
    # The lowest byte is the primary code; SQLITE_BUSY_RECOVERY and the like are waited for too.
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _storage_refusal() -> Refusal:
    return unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise DataFolderError(
            f"the data folder {folder} is in use by another tidings process{f' (pid {owner})' if owner else ''}"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _scripts() -> Sequence[tuple[int, str]]:
    return sorted(
        (int(each.name[:4]), each.read_text())
        for each in (files("tidings.backends.sqlite") / "migrations").iterdir()
        if each.name.endswith(".sql")
    )


def _check_schema(connection: sqlite3.Connection, folder: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _scripts()[-1][0]:
        raise DataFolderError(f"the database in {folder} is of another version of tidings (schema {version})")


def _migrate(connection: sqlite3.Connection, folder: Path) -> None:
    """Bring the schema up to date. `PRAGMA user_version` is the number of the last migration done."""
    connection.create_function("search_key", 1, search_key)
    scripts = _scripts()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > scripts[-1][0]:
        raise DataFolderError(f"the database in {folder} was made by a newer tidings (schema {version})")
    for number, script in scripts:
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
