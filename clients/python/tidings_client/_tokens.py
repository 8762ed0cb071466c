"""The tokens of a signed-in device, and their renewal."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable

from tidings.v1 import account_pb2
from tidings_client._errors import SignedOutError, TidingsError

_log = logging.getLogger(__name__)

# The share of its life after which a token is renewed: early enough for several attempts, and not the same for all
# devices that signed in at the same moment, such as after a restart of the whole system.
_RENEW_AFTER = (0.7, 0.85)
_TRY_AGAIN_SECONDS = 5.0
_LEAST_SECONDS = 30.0
# A server whose tokens are worth nothing is not asked for others without a pause.
_SHORTEST_LIFE_SECONDS = 0.1


def lifetime(tokens: account_pb2.Tokens, now: float) -> float:
    """Tells how many seconds a new access token lives.

    Args:
        tokens: The tokens.
        now: The time by this machine's clock, in seconds since 1970.

    Returns:
        The seconds by the server's clock alone, from the claims of the token itself (`iat`, `exp`), so that a wrong
        clock here does no harm. Where the claims cannot be read, the time to `expires_at` by this machine's clock, but
        never less than half a minute: a clock that is ahead would have it renewed again and again.
    """
    try:
        payload = tokens.access_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - float(claims["iat"])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError, binascii.Error):
        return max(_LEAST_SECONDS, tokens.expires_at.ToNanoseconds() / 1e9 - now)


class TokenKeeper:
    """Holds a device's tokens and renews them, once for all callers that need it at the same time.

    Args:
        tokens: The tokens in force.
        refresh: Trades a refresh token for new tokens; raises `SignedOutError` when it is refused, `TidingsError` when
            no server can be asked.
        save: Puts new tokens on stable storage. It is called before they are used: from then on the old tokens are
            worthless.
        is_new: Whether the tokens were made just now; otherwise they were found on the disk.
    """

    def __init__(
        self,
        tokens: account_pb2.Tokens,
        refresh: Callable[[str], Awaitable[account_pb2.Tokens]],
        save: Callable[[account_pb2.Tokens], None],
        *,
        is_new: bool = True,
    ) -> None:
        self._refresh = refresh
        self._save = save
        self._renewal: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._due = 0.0
        self._hold(tokens, is_new=is_new)

    @property
    def access_token(self) -> str:
        """The access token in force; it may have expired."""
        return self._tokens.access_token

    @property
    def due(self) -> float:
        """When to renew the access token, by `time.monotonic`."""
        return self._due

    def replace(self, tokens: account_pb2.Tokens) -> None:
        """Takes new tokens, saves them and tells the listeners."""
        self._save(tokens)
        self._hold(tokens, is_new=True)
        for listener in list(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` whenever there are new tokens, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def current(self) -> str:
        """Gives an access token that will last for a while, renewed when it is due.

        Raises:
            SignedOutError: This device is signed out.
        """
        if time.monotonic() >= self._due:
            try:
                await self._renew()
            except SignedOutError:
                raise
            except TidingsError as error:
                # The old token may still be good. If it is not, the server's answer will be UNAUTHENTICATED.
                _log.warning("the access token could not be renewed: %s", error)
                self._due = time.monotonic() + _TRY_AGAIN_SECONDS
        return self._tokens.access_token

    async def renew(self, refused: str) -> str:
        """Gives an access token other than one that was refused.

        Args:
            refused: The access token that a server refused.

        Raises:
            SignedOutError: This device is signed out.
            TidingsError: No server could be asked.
        """
        if self._tokens.access_token == refused:
            await self._renew()
        return self._tokens.access_token

    async def close(self) -> None:
        """Waits for a renewal that is under way."""
        if self._renewal is not None:
            await asyncio.wait({self._renewal})

    async def _renew(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._trade())
        # Shielded, so that a caller that gives up takes the renewal neither from the others nor from the disk.
        await asyncio.shield(self._renewal)

    async def _trade(self) -> None:
        try:
            self.replace(await self._refresh(self._tokens.refresh_token))
        finally:
            self._renewal = None

    def _hold(self, tokens: account_pb2.Tokens, *, is_new: bool) -> None:
        now = time.time()
        if is_new:
            remaining = max(_SHORTEST_LIFE_SECONDS, lifetime(tokens, now))
        else:
            # By this machine's clock, for want of another. When it is ahead, the token is renewed early; when it is
            # behind, a server refuses the token, and it is renewed then.
            remaining = max(0.0, tokens.expires_at.ToNanoseconds() / 1e9 - now)
        self._tokens = tokens
        self._due = time.monotonic() + remaining * random.uniform(*_RENEW_AFTER)
