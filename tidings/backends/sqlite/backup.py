"""A backup: the copy of a database that is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tidings.backends.sqlite.database import DataFolderError


def copy_database(folder: Path, to: Path) -> None:
    """Copy the database of a data folder as it is at one moment, while servers may be writing to it.

    The copy contains everything that was committed before the call. Writers are not held up; what they write stays in
    the log beside the database until the copy is done. In the end the copy is complete and synced, or there is none.

    Args:
        folder: A data folder.
        to: The new data folder, which must be empty or not exist.

    Raises:
        DataFolderError: There is no database, the copy cannot be written, or the new folder is not empty.
    """
    source, target = folder / "tidings.db", to / "tidings.db"
    partial = to / "tidings.db.new"
    try:
        to.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(to.iterdir()):
            raise DataFolderError(f"{to} is not empty")
        # The copy is as private as the database.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_open(source, "rw")) as reading, closing(_open(partial, "rw")) as writing:
            reading.execute("PRAGMA query_only = ON")
            # All pages in one step: otherwise each commit of a server would make the copy begin again.
            reading.backup(writing, pages=-1)
            damages = writing.execute("PRAGMA quick_check").fetchall()
            if damages != [("ok",)]:
                raise DataFolderError(f"the database in {folder} is damaged: {damages[0][0]}")
        _sync(partial)
        partial.rename(target)
        _sync(to)
    except OSError as error:
        raise DataFolderError(f"{to} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise DataFolderError(f"the database in {folder} cannot be copied: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    # A database in use has a log beside it, whose index a reader must be able to write.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
