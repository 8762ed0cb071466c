"""A push service for browsers, and a browser."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.providers.server import Answer, Http2Server, Reply, Request

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_VAPID = re.compile(r"vapid t=([^,]+), k=(\S+)")


class Browser:
    """Subscribes, and decrypts what comes."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(16)

    def subscription(self, endpoint: str) -> str:
        """What a page hands to its server."""
        keys = {"p256dh": _encoded(self._public), "auth": _encoded(self.secret)}
        return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})

    def decrypt(self, body: bytes) -> bytes:
        """The content of a push: one record with the content coding aes128gcm (RFC 8188, RFC 8291)."""
        size, key_length = int.from_bytes(body[16:20], "big"), body[20]
        assert len(body) - 21 - key_length <= size, "one record"
        return bytes(http_ece.decrypt(body, private_key=self.key, auth_secret=self.secret))

    @property
    def _public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class WebPushServer(Http2Server):
    """Takes pushes for browsers, each at /browser/NAME."""

    def __init__(self) -> None:
        super().__init__()
        self.browsers: dict[str, Browser] = {}
        self.pushes: list[tuple[str, dict[str, str], Any]] = []
        """Browser, headers, decrypted payload."""
        self.application_key = ""

    def subscribe(self, name: str) -> str:
        """A subscription of a browser."""
        browser = self.browsers.setdefault(name, Browser())
        return browser.subscription(f"{self.url}/browser/{name}")

    def answer(self, request: Request) -> Answer:
        answer = self.next()
        if answer is not None:
            return answer
        name = request.path.removeprefix("/browser/")
        if name not in self.browsers:
            return Reply(404)
        headers = request.headers
        authorization = _VAPID.fullmatch(headers.get("authorization", ""))
        if authorization is None or not self._is_ours(*authorization.groups()):
            return Reply(403)
        if not headers.get("ttl", "").isdigit() or headers.get("content-encoding") != "aes128gcm":
            return Reply(400)
        if headers.get("urgency") not in ("very-low", "low", "normal", "high"):
            return Reply(400)
        if not _TOPIC.fullmatch(headers.get("topic", "")):
            return Reply(400)
        if len(request.body) > 4_096:
            return Reply(413)
        content = self.browsers[name].decrypt(request.body)
        self.pushes.append((name, dict(headers), json.loads(content)))
        return Reply(201, headers={"location": f"{self.url}/message/{len(self.pushes)}"})

    def _is_ours(self, token: str, key: str) -> bool:
        if key != self.application_key:
            return False
        point = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        try:
            claims = jwt.decode(
                token,
                public,
                ["ES256"],
                audience=self.url,
                options={"require": ["exp", "sub"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return False
        return self.now() < claims["exp"] <= self.now() + 24 * 3600 and str(claims["sub"]).startswith(
            ("mailto:", "https://")
        )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
