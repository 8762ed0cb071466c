"""Access tokens: JWTs signed with Ed25519, checked without a lookup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidings.core.clock import Clock
from tidings.core.errors import unauthenticated
from tidings.core.reasons import Reason
from tidings.core.values import Identity

# The one algorithm there is. What a token's own header claims never widens it, `none` included.
_ALGORITHM = "EdDSA"
_ISSUER = "tidings"


class Revocations:
    """Devices that were signed out lately. Their access tokens are refused although they have not run out.

    Args:
        clock: Tells the time.
        token_lifetime_ms: How long an access token works. A revocation is forgotten after that.
    """

    def __init__(self, clock: Clock, token_lifetime_ms: int) -> None:
        self._clock = clock
        self._lifetime_ms = token_lifetime_ms
        self._revoked_at: dict[str, int] = {}

    def add(self, device_ids: Mapping[str, int]) -> None:
        """Refuse the tokens of devices that were issued up to a moment (ms since 1970)."""
        oldest = self.oldest_ms()
        self._revoked_at = {key: at for key, at in self._revoked_at.items() if at > oldest}
        self._revoked_at.update(device_ids)

    def oldest_ms(self) -> int:
        """The moment (ms since 1970) of the oldest access tokens that may still work."""
        return self._clock.now_ms() - self._lifetime_ms

    def covers(self, device_id: str, issued_at_ms: int) -> bool:
        """Whether a device's token of that moment is refused."""
        revoked_at = self._revoked_at.get(device_id)
        return revoked_at is not None and issued_at_ms <= revoked_at


class TokenIssuer:
    """Makes access tokens.

    Args:
        key: Signs them.
        key_id: Names the key in each token.
        clock: Tells the time.
        lifetime_ms: How long a token works.
    """

    def __init__(self, key: Ed25519PrivateKey, key_id: str, clock: Clock, lifetime_ms: int) -> None:
        self._key = key
        self._key_id = key_id
        self._clock = clock
        self._lifetime_ms = lifetime_ms

    def issue(self, user_id: str, device_id: str) -> tuple[str, int]:
        """Make a token for a device; return it with the moment when it runs out (ms since 1970)."""
        now = self._clock.now_ms()
        expires = now + self._lifetime_ms
        # Milliseconds (as fractions of a second) keep a token from after a sign-out apart from one before it.
        claims = {"iss": _ISSUER, "sub": user_id, "dev": device_id, "iat": now / 1000, "exp": expires / 1000}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id}), expires

    def secret_of(self, text: str) -> str:
        """Derive a secret from a text: always the same one, which nobody can compute without the key."""
        # Ed25519 signatures are deterministic. No JWT begins with a zero, so none can be had by asking for this.
        signature = self._key.sign(b"\0tidings secret\0" + text.encode())
        return base64.urlsafe_b64encode(hashlib.sha256(signature).digest()).rstrip(b"=").decode()


class TokenVerifier:
    """Checks access tokens.

    Args:
        keys: Public keys by key id; a token may be signed with any of them.
        clock: Tells the time.
        revocations: Devices whose tokens are refused.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey], clock: Clock, revocations: Revocations) -> None:
        self._keys = keys
        self._clock = clock
        self._revocations = revocations

    def verify(self, token: str) -> Identity:
        """Check a token.

        Returns:
            The device that it stands for.

        Raises:
            Refusal: UNAUTHENTICATED; reason TOKEN_INVALID, TOKEN_EXPIRED or DEVICE_REVOKED.
        """
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                raise unauthenticated("the access token is signed with an unknown key", Reason.TOKEN_INVALID)
            # Time is checked below, against our own clock.
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                options={"require": ["sub", "dev", "iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
            identity = Identity(str(claims["sub"]), str(claims["dev"]), round(float(claims["exp"]) * 1000))
            issued_at_ms = round(float(claims["iat"]) * 1000)
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
            raise unauthenticated("the access token is not valid", Reason.TOKEN_INVALID) from error
        if identity.expires_at_ms <= self._clock.now_ms():
            raise unauthenticated("the access token has run out", Reason.TOKEN_EXPIRED)
        if self._revocations.covers(identity.device_id, issued_at_ms):
            raise unauthenticated("the device has been signed out", Reason.DEVICE_REVOKED)
        return identity
