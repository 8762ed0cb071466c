"""Encryption (RFC 8291) and signature (RFC 8292) of a push for a browser."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Self

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidings.core.clock import Clock
from tidings.core.web_push import PushSubscription

RECORD_BYTES = 4096
"""One record, which is all that a push service has to take."""
_SALT_BYTES, _KEY_BYTES, _NONCE_BYTES = 16, 16, 12
# After it comes padding, of which there is none.
_LAST_RECORD = b"\x02"
# A service may refuse a token that is good for more than a day.
_TOKEN_SECONDS = 12 * 3600
_EARLY_SECONDS = 3600.0
# The services that browsers use are few; this bounds what is remembered of others.
_ORIGINS = 64


@dataclass(frozen=True, slots=True)
class Secrets:
    """The random parts of a message; given only where a known answer is computed again."""

    key: ec.EllipticCurvePrivateKey
    salt: bytes

    @classmethod
    def new(cls) -> Self:
        """Draw new ones."""
        return cls(ec.generate_private_key(ec.SECP256R1()), os.urandom(_SALT_BYTES))


def encrypt(content: bytes, subscription: PushSubscription, secrets: Secrets | None = None) -> bytes:
    """Encrypts with the content coding aes128gcm (RFC 8188), for a subscription (RFC 8291).

    Args:
        content: At most 3,993 bytes.
        subscription: For whom.
        secrets: A key and a salt, new unless given.

    Raises:
        ValueError: The subscription's key is not on the curve.
    """
    with_secrets = secrets or Secrets.new()
    own = point(with_secrets.key.public_key())
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), subscription.public_key)
    shared = with_secrets.key.exchange(ec.ECDH(), theirs)
    info = b"WebPush: info\x00" + subscription.public_key + own
    input_key = _derive(shared, subscription.secret, info, 32)
    key = _derive(input_key, with_secrets.salt, b"Content-Encoding: aes128gcm\x00", _KEY_BYTES)
    nonce = _derive(input_key, with_secrets.salt, b"Content-Encoding: nonce\x00", _NONCE_BYTES)
    header = with_secrets.salt + RECORD_BYTES.to_bytes(4, "big") + len(own).to_bytes(1, "big") + own
    return header + AESGCM(key).encrypt(nonce, content + _LAST_RECORD, None)


class Vapid:
    """Tells push services who sends (RFC 8292): a token for each service, renewed in time.

    Args:
        key: Signs the tokens.
        contact: A mailto: or https: URL where the services reach the operator.
        clock: Tells when a token has to be renewed.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, contact: str, clock: Clock) -> None:
        self._key = key
        self._contact = contact
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self.public_key = encoded(point(key.public_key()))
        """What a browser subscribes with (applicationServerKey)."""

    def authorization(self, origin: str) -> str:
        """Make the Authorization header for a service."""
        now = self._clock.monotonic()
        token, renew_at = self._tokens.get(origin, ("", 0.0))
        if not token or now >= renew_at:
            claims = {
                "aud": origin,
                "exp": self._clock.now_ms() // 1000 + _TOKEN_SECONDS,
                "sub": self._contact,
            }
            token = jwt.encode(claims, self._key, "ES256")
            if len(self._tokens) >= _ORIGINS:
                self._tokens.clear()
            self._tokens[origin] = token, now + _TOKEN_SECONDS - _EARLY_SECONDS
        return f"vapid t={token}, k={self.public_key}"


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Write a public key as an uncompressed point."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def encoded(raw: bytes) -> str:
    """Write bytes in Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)
