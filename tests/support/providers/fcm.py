"""FCM HTTP v1 and the token endpoint of OAuth 2."""

from __future__ import annotations

import functools
import json
import re
import secrets
import urllib.parse
from collections import deque
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.providers.certificates import private_pem
from tests.support.providers.server import Answer, Http2Server, Reply, Request

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_DURATION = re.compile(r"\d+s")
_EMAIL = "sender@project.example"


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    # Finding one takes longer than most tests.
    return rsa.generate_private_key(65537, 2048)


class FcmServer(Http2Server):
    """Takes messages of one project from whoever has an access token of its service account."""

    def __init__(self) -> None:
        super().__init__()
        self.key = _key()
        self.messages: list[dict[str, Any]] = []
        self.token_script: deque[Answer] = deque()
        self.tokens_issued = 0
        self.token_seconds = 3_600
        self.access_token = ""

    def write_account(self, path: Path) -> Path:
        """The JSON file of the service account."""
        account = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "key-1",
            "private_key": private_pem(self.key).decode(),
            "client_email": _EMAIL,
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(account))
        return path

    def revoke(self) -> None:
        """The access token that was issued last is good no more."""
        self.access_token = ""

    def answer(self, request: Request) -> Answer:
        if request.path == "/token":
            return self.token_script.popleft() if self.token_script else self._issue(request)
        answer = self.next()
        if answer is not None:
            return answer
        if request.path != "/v1/projects/project/messages:send":
            return error(404, "NOT_FOUND")
        if not self.access_token or request.headers.get("authorization") != f"Bearer {self.access_token}":
            return error(401, "UNAUTHENTICATED")
        message = json.loads(request.body)["message"]
        if not _is_valid(message):
            return error(400, "INVALID_ARGUMENT")
        self.messages.append(message)
        return Reply.json(200, {"name": f"projects/project/messages/{len(self.messages)}"})

    def _issue(self, request: Request) -> Reply:
        form = dict(urllib.parse.parse_qsl(request.body.decode()))
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return Reply.json(400, {"error": "unsupported_grant_type"})
        try:
            claims = jwt.decode(
                form["assertion"],
                self.key.public_key(),
                ["RS256"],
                audience=f"{self.url}/token",
                issuer=_EMAIL,
                options={"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return Reply.json(400, {"error": "invalid_grant"})
        is_good_now = claims["iat"] - 60 <= self.now() < claims["exp"] <= claims["iat"] + 3_600
        if not is_good_now or claims.get("scope") != _SCOPE:
            return Reply.json(400, {"error": "invalid_scope"})
        self.tokens_issued += 1
        self.access_token = secrets.token_urlsafe()
        return Reply.json(
            200, {"access_token": self.access_token, "expires_in": self.token_seconds, "token_type": "Bearer"}
        )


def error(status: int, code: str, *details: dict[str, Any], **headers: str) -> Reply:
    """An error as FCM words it; with an error code of its own in `details`."""
    return Reply.json(status, {"error": {"code": status, "status": code, "details": list(details)}}, **headers)


def fcm_error(status: int, code: str, **headers: str) -> Reply:
    """An error with one of FCM's own codes."""
    return error(
        status, "X", {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}, **headers
    )


def _is_valid(message: dict[str, Any]) -> bool:
    data, android = message.get("data", {}), message.get("android", {})
    return (
        isinstance(message.get("token"), str)
        and all(isinstance(value, str) for value in data.values())
        and android.get("priority") in ("NORMAL", "HIGH")
        and _DURATION.fullmatch(android.get("ttl", "")) is not None
        and set(message) <= {"token", "data", "notification", "android"}
        and set(android) <= {"priority", "ttl", "collapse_key", "notification"}
        and set(android.get("notification", {})) <= {"tag", "notification_count"}
        and set(message.get("notification", {})) <= {"title", "body"}
    )
