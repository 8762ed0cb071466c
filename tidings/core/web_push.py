"""Subscriptions of browsers to Web Push, which are their push tokens: `JSON.stringify(subscription)`."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PUBLIC_KEY_BYTES = 65
_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """The address of a browser at its push service, and the keys to encrypt pushes for it (RFC 8030, RFC 8291)."""

    endpoint: str
    public_key: bytes
    """A point of P-256, uncompressed."""
    secret: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a subscription in JSON.

        Raises:
            ValueError: The text is no subscription. The message says why, without quoting the text.
        """
        try:
            found = json.loads(text)
            endpoint, keys = found["endpoint"], found["keys"]
            public_key, secret = _bytes(keys["p256dh"]), _bytes(keys["auth"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("it must be JSON with endpoint, keys.p256dh and keys.auth") from None
        if not isinstance(endpoint, str) or not _is_https(endpoint):
            raise ValueError("its endpoint must be an https URL")
        if len(public_key) != _PUBLIC_KEY_BYTES or public_key[0] != 4:
            raise ValueError("its keys.p256dh must be an uncompressed point of P-256")
        if len(secret) != _SECRET_BYTES:
            raise ValueError(f"its keys.auth must have {_SECRET_BYTES} bytes")
        return cls(endpoint, public_key, secret)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the push service."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def host(self) -> str:
        """The host of the push service, in small letters."""
        return urlsplit(self.endpoint).hostname or ""


def _is_https(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
    except ValueError:
        return False
    # `urlsplit` leaves out what HTTP clients refuse.
    is_plain = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    # A name and a password in the URL would be sent to a server of the caller's choice.
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and is_plain


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError from error
