"""The Apple Push Notification service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.providers.certificates import private_pem
from tests.support.providers.server import Answer, Http2Server, Reply, Request

KEY_ID, TEAM_ID, TOPIC = "KEY4567890", "TEAM567890", "org.example.chat"
_PUSH_TYPES = {"alert", "background"}


class ApnsServer(Http2Server):
    """Takes pushes for one app from one team."""

    def __init__(self) -> None:
        super().__init__()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pushes: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """Device token, headers, payload."""
        self.provider_tokens: set[str] = set()

    def write_key(self, path: Path) -> Path:
        """The .p8 file."""
        path.write_bytes(private_pem(self.key))
        return path

    def answer(self, request: Request) -> Answer:
        answer = self.next()
        if answer is not None:
            return answer
        reason = self._refused(request)
        if reason is not None:
            return refusal(*reason)
        payload = json.loads(request.body)
        device = request.path.removeprefix("/3/device/")
        self.pushes.append((device, dict(request.headers), payload))
        return Reply(200, headers={"apns-id": "1"})

    def _refused(self, request: Request) -> tuple[int, str] | None:
        headers = request.headers
        if not request.path.startswith("/3/device/"):
            return 404, "BadPath"
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "bearer":
            return 403, "MissingProviderToken"
        self.provider_tokens.add(token)
        try:
            claims = jwt.decode(token, self.key.public_key(), ["ES256"], issuer=TEAM_ID, options={"verify_iat": False})
        except jwt.InvalidTokenError:
            return 403, "InvalidProviderToken"
        if jwt.get_unverified_header(token).get("kid") != KEY_ID:
            return 403, "InvalidProviderToken"
        if not self.now() - 3_600 < claims["iat"] <= self.now() + 60:
            return 403, "ExpiredProviderToken"
        if headers.get("apns-topic") != TOPIC:
            return 400, "BadTopic"
        if headers.get("apns-push-type") not in _PUSH_TYPES:
            return 400, "InvalidPushType"
        if headers.get("apns-priority") not in ("5", "10"):
            return 400, "BadPriority"
        if int(headers.get("apns-expiration", "0")) < self.now():
            return 400, "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return 400, "BadCollapseId"
        if len(request.body) > 4_096:
            return 413, "PayloadTooLarge"
        return None


def refusal(status: int, reason: str, **headers: str) -> Reply:
    """An error as APNs words it."""
    return Reply.json(status, {"reason": reason}, **headers)
