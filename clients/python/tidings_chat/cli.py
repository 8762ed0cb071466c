"""The command line of `tidings chat`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidings_chat.accounts import DEFAULT_SERVER, RememberedAccount, RememberedAccounts, default_folder
from tidings_chat.app import ChatApp
from tidings_chat.shown import NOTHING, ShownLine
from tidings_chat.text import explain
from tidings_client import ClientReason, SignedOutError, Tidings, TidingsError, Tls


class CannotStartError(Exception):
    """The application cannot start; the message says why, in a sentence."""


def chat(
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=f"Where to sign in; {DEFAULT_SERVER} unless remembered otherwise.")
    ] = "",
    user: Annotated[str, typer.Option(metavar="NAME", help="Which account, where several are remembered here.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where sign-ins are kept; a folder of yours unless given.", file_okay=False),
    ] = None,
    plaintext: Annotated[bool, typer.Option("--plaintext", help="No TLS, also to other machines.")] = False,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM root certificates to trust instead of the system's.")
    ] = None,
) -> None:
    """Talks to people, in the terminal."""
    try:
        if server and ":" not in server:
            raise CannotStartError(f"--server {server} is not HOST:PORT")
        tls = _tls(plaintext, ca)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CannotStartError("chat needs a terminal to run in")
        asyncio.run(_chat(RememberedAccounts(data or default_folder()), server, user, tls))
    except CannotStartError as error:
        typer.echo(ShownLine(f"tidings chat: {error}"), err=True)
        raise typer.Exit(1) from None


def _tls(plaintext: bool, ca: Path | None) -> Tls:
    if plaintext and ca is not None:
        raise CannotStartError("--plaintext and --ca exclude one another")
    if ca is not None:
        try:
            return ca.read_bytes()
        except OSError as error:
            raise CannotStartError(f"{ca} cannot be read: {error.strerror}") from None
    return False if plaintext else None


async def _chat(accounts: RememberedAccounts, server: str, user: str, tls: Tls) -> None:
    # gRPC's own log lines would land in the middle of the screen.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    app = await prepare(accounts, server, user, tls)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, app.leave)
    await app.run_async()
    if app.return_code:
        raise typer.Exit(app.return_code)


async def prepare(accounts: RememberedAccounts, server: str, user: str, tls: Tls) -> ChatApp:
    """Makes the application, which continues as the right account or else begins with the sign-in screen.

    Args:
        accounts: The accounts of this machine.
        server: HOST:PORT; empty for the remembered one, or the default.
        user: The username; empty for the only remembered account.
        tls: How connections are secured.
    """
    try:
        remembered = accounts.remembered(user, server)
    except OSError as error:
        raise CannotStartError(f"{accounts.folder} cannot be used: {error.strerror}") from None
    found: tuple[Tidings, RememberedAccount] | None = None
    message = NOTHING
    if len(remembered) == 1 or (user and remembered):
        account = remembered[0]
        try:
            found = await accounts.resume(account, tls), account
        except SignedOutError:
            user, server = account.username, account.server
        except TidingsError as error:
            if user or error.reason != ClientReason.STATE_IN_USE:
                raise CannotStartError(explain(error)) from None
            # Another terminal has the only account open, so this one is for somebody else.
            server = account.server
            message = ShownLine(f"{account.username} is open in another terminal; sign in as somebody else")
        remembered = []
    return ChatApp(
        accounts,
        server=server or DEFAULT_SERVER,
        username=user,
        message=message,
        tls=tls,
        signed_in=found,
        remembered=[] if user else remembered,
    )
