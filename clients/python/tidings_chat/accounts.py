"""The accounts that have signed in on this machine: one folder with a file of the SDK for each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from tidings_client import Tidings, Tls

DEFAULT_SERVER = "127.0.0.1:7400"
_SUFFIX = ".db"
_DEVICE_NAME = "tidings chat"


def default_folder() -> Path:
    """The folder of this program among the user's data (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "tidings" / "chat"


@dataclass(frozen=True, slots=True)
class RememberedAccount:
    """A user at a server, and the file of the user's device here."""

    username: str
    server: str
    path: Path


class RememberedAccounts:
    """Finds, makes and resumes the accounts of this machine.

    Args:
        folder: The folder of their files; it is made when somebody signs in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def account(self, username: str, server: str) -> RememberedAccount:
        """Names the account of a user at a server, whether or not it has a file."""
        name = f"{quote(username.lower(), safe='')}@{quote(server, safe='')}"
        return RememberedAccount(username.lower(), server, self.folder / f"{name}{_SUFFIX}")

    def remembered(self, username: str = "", server: str = "") -> list[RememberedAccount]:
        """Lists the accounts that have a file, the one used last first.

        Args:
            username: Only accounts of this user, when not empty.
            server: Only accounts at this server, when not empty.
        """
        found = []
        for path in self.folder.glob(f"*@*{_SUFFIX}"):
            name, _, at = path.name.removesuffix(_SUFFIX).partition("@")
            account = RememberedAccount(unquote(name), unquote(at), path)
            if username.lower() in ("", account.username) and server in ("", account.server):
                found.append(account)
        return sorted(found, key=lambda account: account.path.stat().st_mtime, reverse=True)

    async def resume(self, account: RememberedAccount, tls: Tls) -> Tidings:
        """Continues as a remembered account.

        Raises:
            SignedOutError: The account is signed out.
            TidingsError: The account is open in another process.
        """
        return await Tidings.resume(account.path, tls=tls)

    async def sign_up(self, account: RememberedAccount, password: str, display_name: str, tls: Tls) -> Tidings:
        """Makes an account, and signs this device in.

        Raises:
            TidingsError: The sign-up is refused, or the file is in use.
        """
        with self._tidied(account):
            return await Tidings.sign_up(
                account.server,
                account.username,
                password,
                display_name=display_name,
                device_name=_DEVICE_NAME,
                data=account.path,
                tls=tls,
            )

    async def log_in(self, account: RememberedAccount, password: str, tls: Tls) -> Tidings:
        """Signs this device in.

        Raises:
            TidingsError: The sign-in is refused, or the file is in use.
        """
        with self._tidied(account):
            return await Tidings.log_in(
                account.server, account.username, password, device_name=_DEVICE_NAME, data=account.path, tls=tls
            )

    @contextlib.contextmanager
    def _tidied(self, account: RememberedAccount) -> Iterator[None]:
        """Removes the new file of an account when the sign-in fails."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        was_there = account.path.exists()
        try:
            yield
        except BaseException:
            if not was_there:
                account.path.unlink(missing_ok=True)
            raise
