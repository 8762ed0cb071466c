"""The accounts of the speakers, and the sign-ins of their devices."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpc

from tidings.v1 import account_pb2
from tidings_client import Tidings, TidingsError

_STEM_CHARACTERS = 23
_DISPLAY_NAME_CHARACTERS = 64

Made = TypeVar("Made")


def username(nick: str) -> str:
    """Makes a username that nobody has, of the characters of a nick that a username may have, and a random end."""
    stem = re.sub(r"[^a-z0-9._-]", "", nick.lower()).lstrip("._-")[:_STEM_CHARACTERS]
    return f"{stem or 'guest'}-{secrets.token_hex(4)}"


class SpeakerAccount:
    """One speaker's account, with a random username and password.

    Args:
        server: HOST:PORT of the api.
        nick: The speaker's nick.
    """

    def __init__(self, server: str, nick: str) -> None:
        self._server = server
        self._nick = nick
        self._username = username(nick)
        self._password = secrets.token_urlsafe(16)

    async def sign_up(self, data: Path | None) -> Tidings:
        """Makes the account, with its first device.

        Args:
            data: The file to keep the device's state in; None for memory.

        Raises:
            TidingsError: The sign-up is refused.
        """
        return await _patiently(
            lambda: Tidings.sign_up(
                self._server,
                self._username,
                self._password,
                display_name=self._nick[:_DISPLAY_NAME_CHARACTERS],
                device_name="first device",
                platform=account_pb2.PLATFORM_BOT,
                data=data,
            )
        )

    async def log_in(self, data: Path | None) -> Tidings:
        """Signs a second device in to the account; arguments and errors are those of `sign_up`."""
        return await _patiently(
            lambda: Tidings.log_in(
                self._server,
                self._username,
                self._password,
                device_name="second device",
                platform=account_pb2.PLATFORM_BOT,
                data=data,
            )
        )


async def _patiently(ask: Callable[[], Awaitable[Made]]) -> Made:
    """Asks, and asks again after the time that the server names when it is asked too often."""
    while True:
        try:
            return await ask()
        except TidingsError as error:
            if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED or error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after)
