"""Access tokens: JWTs signed with Ed25519, checked without a lookup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidings.core.clock import Clock
from tidings.core.errors import device_revoked, unauthenticated
from tidings.core.reasons import Reason
from tidings.core.values import Identity

# The one algorithm there is. What a token's own header claims never widens it, `none` included.
_ALGORITHM = "EdDSA"
_ISSUER = "tidings"
# How far the clocks of two servers, or of one before and after it was set, may be apart.
_CLOCKS_SECONDS = 3600.0


class Revocations:
    """Devices that were signed out lately. Their access tokens are refused although they have not run out.

    Which tokens are from before a sign-out is told by epochs, and when it may be forgotten by the monotonic clock: a
    clock that is set lets nobody in who was signed out, and keeps nobody out who is signed in.

    Args:
        clock: Tells the time.
        token_lifetime_ms: How long an access token works.
    """

    def __init__(self, clock: Clock, token_lifetime_ms: int) -> None:
        self._clock = clock
        self.token_lifetime = token_lifetime_ms / 1000
        """Seconds that an access token works."""
        self.epochs: dict[str, int] = {}
        """The devices, each with the epoch up to which its tokens are refused."""
        # By device, the monotonic second of the last sign-out: the oldest come first.
        self._added: dict[str, float] = {}

    @property
    def longest_left(self) -> float:
        """The most seconds that a token may have left. What has more is from when a clock was wrong."""
        return self.token_lifetime + _CLOCKS_SECONDS

    @property
    def kept(self) -> float:
        """Seconds that a sign-out is kept: as long as a token may have left, and a clock may be set back meanwhile."""
        return self.longest_left + _CLOCKS_SECONDS

    def add(self, revoked: Mapping[str, int]) -> None:
        """Refuse the tokens of devices, up to an epoch of each."""
        now = self._clock.monotonic()
        for device_id, epoch in revoked.items():
            self.epochs[device_id] = max(epoch, self.epochs.get(device_id, epoch))
            self._added.pop(device_id, None)
            self._added[device_id] = now

    def forget(self) -> Mapping[str, int]:
        """Forget the sign-outs whose tokens have run out; return them."""
        until = self._clock.monotonic() - self.kept
        gone: dict[str, int] = {}
        for device_id, added in self._added.items():
            if added > until:
                break
            gone[device_id] = self.epochs[device_id]
        for device_id in gone:
            del self._added[device_id], self.epochs[device_id]
        return gone

    def covers(self, device_id: str, epoch: int) -> bool:
        """Whether a device's tokens of an epoch are refused."""
        revoked = self.epochs.get(device_id)
        return revoked is not None and epoch <= revoked


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

    def issue(self, user_id: str, device_id: str, epoch: int = 0) -> tuple[str, int]:
        """Make a token for a device in an epoch; return it with the moment when it runs out (ms since 1970)."""
        now = self._clock.now_ms()
        expires = now + self._lifetime_ms
        claims = {
            "iss": _ISSUER,
            "sub": user_id,
            "dev": device_id,
            "epoch": epoch,
            "iat": now / 1000,
            "exp": expires / 1000,
        }
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

    @property
    def revoked(self) -> Mapping[str, int]:
        """The devices that were signed out lately, as they are now, each with the epoch up to which it is out."""
        return self._revocations.epochs

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
            left = (round(float(claims["exp"]) * 1000) - self._clock.now_ms()) / 1000
            # A token that does not say is from before epochs were counted.
            epoch = int(claims.get("epoch", 0))
            round(float(claims["iat"]))
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
            raise unauthenticated("the access token is not valid", Reason.TOKEN_INVALID) from error
        revocations, device_id = self._revocations, str(claims["dev"])
        # More is left only to a token that was made while a clock was ahead: it would outlive every sign-out.
        if not 0 < left <= revocations.longest_left:
            raise unauthenticated("the access token has run out", Reason.TOKEN_EXPIRED)
        if revocations.covers(device_id, epoch):
            raise device_revoked()
        good_until = self._clock.monotonic() + min(left, revocations.token_lifetime)
        return Identity(str(claims["sub"]), device_id, good_until, epoch)
