"""Firebase Cloud Messaging, HTTP v1: Android, and what else Firebase reaches."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.http import Answer, Http
from notifier.notice import Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from tidings.core.clock import Clock

URL = "https://fcm.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS = 3600
# An access token is renewed this long before it ends.
_EARLY_SECONDS = 300
# What Google asks for where it sends no Retry-After with QUOTA_EXCEEDED.
_QUOTA_SECONDS = 60.0

_OK, _UNAUTHORIZED = 200, 401


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The account that sends: the JSON file of a service account, read."""

    project_id: str
    client_email: str
    key_id: str
    key: RSAPrivateKey
    token_url: str


class AccessTokens:
    """OAuth 2 access tokens for a service account (RFC 7523), renewed before they end; one request at a time.

    Args:
        account: The account.
        http: The connections.
        clock: Tells when a token ends.
    """

    def __init__(self, account: ServiceAccount, http: Http, clock: Clock) -> None:
        self._account = account
        self._http = http
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0

    async def get(self) -> str | Retry:
        """Give a token that is good for some minutes at least."""
        async with self._lock:
            if self._token and self._clock.monotonic() < self._renew_at:
                return self._token
            answer = await self._ask()
            if isinstance(answer, Retry):
                return answer
            found = answer.json()
            token, seconds = found.get("access_token"), found.get("expires_in")
            if answer.status != _OK or not isinstance(token, str) or not isinstance(seconds, int | float):
                return answer.trouble() or Retry("oauth_refused", is_down=True)
            self._token = token
            self._renew_at = self._clock.monotonic() + max(0.0, float(seconds) - _EARLY_SECONDS)
            return token

    def refuse(self, token: str) -> None:
        """Drop a token that does not work."""
        if token == self._token:
            self._token = ""

    async def _ask(self) -> Answer | Retry:
        account, now = self._account, self._clock.now_ms() // 1000
        claims = {
            "iss": account.client_email,
            "scope": _SCOPE,
            "aud": account.token_url,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        assertion = jwt.encode(claims, account.key, "RS256", {"kid": account.key_id})
        form = urllib.parse.urlencode({"grant_type": _GRANT, "assertion": assertion})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await self._http.post(account.token_url, headers, form.encode())


class FcmProvider(Provider):
    """Sends through FCM. The token is a registration token.

    Args:
        account: Sends.
        http: The connections; closed with the provider.
        clock: Tells the time.
        ttl: Seconds for which FCM keeps a push for a device that is off.
        url: Where FCM listens.
    """

    def __init__(self, account: ServiceAccount, http: Http, clock: Clock, ttl: int, url: str = URL) -> None:
        self._http = http
        self._tokens = AccessTokens(account, http, clock)
        self._ttl = ttl
        self._url = f"{url}/v1/projects/{urllib.parse.quote(account.project_id, safe='')}/messages:send"

    async def send(self, token: str, notice: Notice) -> Outcome:
        """See `Provider.send`."""
        access = await self._tokens.get()
        if isinstance(access, Retry):
            return access
        headers = {"authorization": f"Bearer {access}", "content-type": "application/json"}
        body = json.dumps({"message": {"token": token, **message(notice, self._ttl)}}, ensure_ascii=False).encode()
        answer = await self._http.post(self._url, headers, body)
        if isinstance(answer, Retry):
            return answer
        outcome = outcome_of(answer)
        if answer.status == _UNAUTHORIZED:
            self._tokens.refuse(access)
        return outcome

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._http.close()


def message(notice: Notice, ttl: int) -> Mapping[str, Any]:
    """Make the message that FCM delivers."""
    data = {
        "channel_id": notice.channel_id,
        "seq": str(notice.seq),
        "unread": str(notice.unread),
        "type": "read" if notice.silent else "message",
    }
    if notice.silent:
        # Of one key FCM keeps the last, for at most four keys a device: this one says it for all channels.
        return {"data": data, "android": {"priority": "NORMAL", "ttl": f"{ttl}s", "collapse_key": "read"}}
    if notice.sender_id:
        data["sender_id"] = notice.sender_id
    shown = {"body": notice.body} | ({"title": notice.title} if notice.title else {})
    return {
        "data": data,
        "notification": shown,
        "android": {
            "priority": "HIGH",
            "ttl": f"{ttl}s",
            # A tag replaces on the device. A collapse key would let FCM throw away all but four channels' pushes.
            "notification": {"tag": notice.channel_id, "notification_count": notice.unread},
        },
    }


def outcome_of(answer: Answer) -> Outcome:
    """Read FCM's answer to a message."""
    if answer.status == _OK:
        return Sent()
    error = answer.json().get("error")
    details = error.get("details") if isinstance(error, dict) else None
    found = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    code = next((each["errorCode"] for each in found if isinstance(each.get("errorCode"), str)), "")
    match answer.status, code:
        case _, "UNREGISTERED":
            return Gone("unregistered")
        case 400, _:
            return Gone("invalid_token") if _is_about_token(found) else Failed("invalid_argument")
        case 401, "THIRD_PARTY_AUTH_ERROR":
            return Failed("third_party_auth")
        case 403, "SENDER_ID_MISMATCH":
            return Failed("sender_id_mismatch")
        case 401 | 403, _:
            return Retry("credentials_refused", is_down=True)
        case 404, _:
            return Failed("not_found")
        case 429, _:
            after = answer.retry_after
            return Retry("quota_exceeded", _QUOTA_SECONDS if after is None else after)
        case _:
            return answer.trouble() or Failed(f"http_{answer.status}")


def _is_about_token(details: list[dict[str, Any]]) -> bool:
    violations = [each for detail in details for each in detail.get("fieldViolations") or ()]
    return any(isinstance(each, dict) and each.get("field") == "message.token" for each in violations)
