"""The file that a device keeps: who it is signed in as, and its progress."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tidings.v1 import account_pb2, discovery_pb2
from tidings_client._errors import refusal
from tidings_client._progress import Progress, ProgressUpdate
from tidings_client._reasons import ClientReason

# "Tidi": tells these files from those of other programs.
_APPLICATION_ID = 0x54696469
_ATTEMPT_BYTES = 16
_VERSION = 2
_SCHEMA = f"""
CREATE TABLE device (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    server TEXT NOT NULL,
    user BLOB NOT NULL,       -- tidings.v1.User
    device_id TEXT NOT NULL,
    tokens BLOB NOT NULL,     -- tidings.v1.Tokens; empty when signed out
    servers BLOB NOT NULL,    -- tidings.v1.RecommendServersResponse
    cursor TEXT NOT NULL,     -- decimal: a position may pass SQLite's signed integers
    attempt TEXT NOT NULL DEFAULT ''    -- to trade the refresh token for new tokens; empty before the first
);
CREATE TABLE channels (
    channel_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""
_FROM_VERSION_1 = f"""
ALTER TABLE device ADD COLUMN attempt TEXT NOT NULL DEFAULT '';
PRAGMA user_version = {_VERSION};
"""


@dataclass(slots=True)
class SavedDevice:
    """A device, as it was when it signed in last."""

    server: str
    """HOST:PORT of the api and discovery."""
    user: account_pb2.User
    device_id: str
    tokens: account_pb2.Tokens | None = field(repr=False)
    """None when the device is signed out; its progress is kept for the next time."""
    servers: Sequence[discovery_pb2.Server]


class Storage:
    """Keeps a device's sign-in and progress in a SQLite file, which is made when there is none.

    Only its owner can read the file: the refresh token in it is as good as a password. It is locked while it is open:
    two processes that renew with the same refresh token would look like a thief at work, and be signed out.

    Args:
        path: The file; None to keep everything in memory.

    Raises:
        TidingsError: FAILED_PRECONDITION; the reason is STATE_IN_USE when another process has the file open,
            STATE_UNREADABLE when it is no such file, or one of a newer version.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        if self._path is not None:
            _make_private(self._path)
        self._database = sqlite3.connect(self._path or ":memory:", timeout=0, isolation_level=None)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._database.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise refusal(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{path} is open in another process; give each its own",
                    reason=ClientReason.STATE_IN_USE,
                ) from None
            raise refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{path} cannot be used: {error}",
                reason=ClientReason.STATE_UNREADABLE,
            ) from error
        except BaseException:
            self._database.close()
            raise

    def device(self) -> SavedDevice | None:
        """Reads the device that signed in last; None when none ever did."""
        row = self._database.execute("SELECT server, user, device_id, tokens, servers FROM device").fetchone()
        if row is None:
            return None
        server, user, device_id, tokens, servers = row
        return SavedDevice(
            server,
            account_pb2.User.FromString(user),
            device_id,
            account_pb2.Tokens.FromString(tokens) if tokens else None,
            discovery_pb2.RecommendServersResponse.FromString(servers).servers,
        )

    def progress(self) -> Progress:
        """Reads the device's progress."""
        row = self._database.execute("SELECT cursor FROM device").fetchone()
        seqs = dict(self._database.execute("SELECT channel_id, seq FROM channels"))
        return Progress(int(row[0]) if row else 0, seqs)

    def save_device(self, device: SavedDevice) -> None:
        """Saves a device that signed in. The progress is kept if the same device was here before, else cleared."""
        before = self.device()
        same = (
            before is not None and before.device_id == device.device_id and before.user.user_id == device.user.user_id
        )
        cursor = str(self.progress().cursor) if same else "0"
        with _Synced(self._database):
            if not same:
                self._database.execute("DELETE FROM channels")
            self._database.execute(
                "REPLACE INTO device (id, server, user, device_id, tokens, servers, cursor)"
                " VALUES (1, ?, ?, ?, ?, ?, ?)",
                (
                    device.server,
                    device.user.SerializeToString(),
                    device.device_id,
                    device.tokens.SerializeToString() if device.tokens is not None else b"",
                    discovery_pb2.RecommendServersResponse(servers=device.servers).SerializeToString(),
                    cursor,
                ),
            )

    def save_tokens(self, tokens: account_pb2.Tokens | None) -> None:
        """Saves new tokens; None when the device is signed out."""
        with _Synced(self._database):
            self._database.execute(
                "UPDATE device SET tokens = ?, attempt = ''",
                (tokens.SerializeToString() if tokens is not None else b"",),
            )

    def attempt(self) -> str:
        """Gives the id of the attempt to renew the tokens; it stays the same until there are new tokens."""
        (attempt,) = self._database.execute("SELECT attempt FROM device").fetchone()
        if not attempt:
            attempt = secrets.token_urlsafe(_ATTEMPT_BYTES)
            # Saved before the server is asked: this process may be gone when the answer comes.
            with _Synced(self._database):
                self._database.execute("UPDATE device SET attempt = ?", (attempt,))
        return str(attempt)

    def save_servers(self, servers: Sequence[discovery_pb2.Server]) -> None:
        """Saves the recommended servers."""
        blob = discovery_pb2.RecommendServersResponse(servers=servers).SerializeToString()
        self._database.execute("UPDATE device SET servers = ?", (blob,))

    def save_progress(self, update: ProgressUpdate) -> None:
        """Saves progress. A crash of this process loses none of it; a loss of power may."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            if update.anew:
                database.execute("DELETE FROM channels")
            database.executemany("REPLACE INTO channels (channel_id, seq) VALUES (?, ?)", update.seqs.items())
            database.execute("UPDATE device SET cursor = ?", (str(update.cursor),))
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _open(self) -> None:
        """Locks the file, and makes its tables or brings them up to date."""
        database = self._database
        # Exclusive before WAL: the lock is then held from here on, and no shared memory file is needed.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        # Enough to survive a crash of the process, without waiting for the disk at every update.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("BEGIN IMMEDIATE")
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        database.execute("COMMIT")
        if not tables:
            database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif (application_id, version) == (_APPLICATION_ID, 1):
            database.executescript(f"BEGIN IMMEDIATE; {_FROM_VERSION_1} COMMIT;")
        elif (application_id, version) != (_APPLICATION_ID, _VERSION):
            raise sqlite3.DatabaseError("it is not a tidings client's file, or a newer version's")


def _make_private(path: Path) -> None:
    """Makes a file that only its owner can read, or takes the rights of all others to the one that is there.

    It is called before SQLite opens the file, which would leave the mode to the umask. The journal gets the same mode.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        # Not by opening it: closing it again would drop the lock that another `Storage` of this process may hold on it.
        path.chmod(0o600)


class _Synced:
    """A transaction that has reached the disk when it is over, so that a loss of power does not undo it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            self._database.execute("COMMIT" if error_type is None else "ROLLBACK")
        finally:
            self._database.execute("PRAGMA synchronous = NORMAL")
