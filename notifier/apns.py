"""The Apple Push Notification service: iOS, iPadOS, macOS."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from notifier.http import Answer, Http
from notifier.notice import Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from tidings.core.clock import Clock

PRODUCTION = "https://api.push.apple.com"
SANDBOX = "https://api.sandbox.push.apple.com"

# Apple refuses a token that is older than an hour, and one that is renewed more often than every twenty minutes.
_TOKEN_SECONDS = 2_400.0
_COLLAPSE_ID_BYTES = 64
_AT_ONCE, _CONSIDERATE = "10", "5"
_OK, _GONE = 200, 410


@dataclass(frozen=True, slots=True)
class ApnsKey:
    """The key that Apple has given to a team: a .p8 file, read."""

    key_id: str
    team_id: str
    key: EllipticCurvePrivateKey


class ProviderTokens:
    """The tokens that tell Apple who sends: JWTs, renewed in time.

    Args:
        key: Signs them.
        clock: Tells when one has to be renewed.
    """

    def __init__(self, key: ApnsKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def get(self) -> str:
        """Give a token that is good now."""
        now = self._clock.monotonic()
        if not self._token or now >= self._renew_at:
            claims = {"iss": self._key.team_id, "iat": self._clock.now_ms() // 1000}
            self._token = jwt.encode(claims, self._key.key, "ES256", {"kid": self._key.key_id})
            self._renew_at = now + _TOKEN_SECONDS
        return self._token

    def expired(self, token: str) -> None:
        """Drop a token that Apple calls too old."""
        if token == self._token:
            self._token = ""


class ApnsProvider(Provider):
    """Sends through APNs. The token is a device token in hexadecimal digits.

    Args:
        key: Of the team that sends.
        topic: The app's bundle id.
        http: The connections; closed with the provider.
        clock: Tells the time.
        ttl: Seconds for which Apple keeps a push for a device that is off.
        url: Where Apple listens.
    """

    counts_all: ClassVar[bool] = True

    def __init__(self, key: ApnsKey, topic: str, http: Http, clock: Clock, ttl: int, url: str = PRODUCTION) -> None:
        self._tokens = ProviderTokens(key, clock)
        self._topic = topic
        self._http = http
        self._clock = clock
        self._ttl = ttl
        self._url = f"{url}/3/device/"

    async def send(self, token: str, notice: Notice) -> Outcome:
        """See `Provider.send`."""
        provider_token = self._tokens.get()
        headers = {
            "authorization": f"bearer {provider_token}",
            "apns-topic": self._topic,
            "apns-push-type": "alert",
            "apns-priority": _CONSIDERATE if notice.silent else _AT_ONCE,
            "apns-expiration": str(self._clock.now_ms() // 1000 + self._ttl),
            "apns-collapse-id": notice.channel_id[:_COLLAPSE_ID_BYTES],
        }
        if notice.silent:
            # In place of the channel's push it would be shown as an empty one.
            del headers["apns-collapse-id"]
        body = json.dumps(payload(notice), ensure_ascii=False).encode()
        answer = await self._http.post(self._url + urllib.parse.quote(token, safe=""), headers, body)
        if isinstance(answer, Retry):
            return answer
        if _reason(answer) == "ExpiredProviderToken":
            self._tokens.expired(provider_token)
        return outcome_of(answer)

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._http.close()


def payload(notice: Notice) -> Mapping[str, Any]:
    """Make the JSON that the device gets."""
    # The badge is the app's, not the channel's.
    badge = notice.unread if notice.unread_in_all is None else notice.unread_in_all
    if notice.silent:
        # Sets the badge by itself; an app that may run in the background takes the channel's push off the screen.
        aps: dict[str, Any] = {"badge": badge, "content-available": 1}
        return {"aps": aps, "type": "read", "channel_id": notice.channel_id, "seq": notice.seq, "unread": notice.unread}
    alert = {"body": notice.body} | ({"title": notice.title} if notice.title else {})
    aps = {"alert": alert, "badge": badge, "sound": "default", "thread-id": notice.channel_id, "mutable-content": 1}
    found = {"aps": aps, "type": "message", "channel_id": notice.channel_id, "seq": notice.seq, "unread": notice.unread}
    return found | ({"sender_id": notice.sender_id} if notice.sender_id else {})


_INVALID_TOKENS = {
    "BadDeviceToken": "bad_device_token",
    "Unregistered": "unregistered",
    "ExpiredToken": "expired_token",
}
_REFUSED_CREDENTIALS = {
    "BadCertificate",
    "BadCertificateEnvironment",
    "ExpiredProviderToken",
    "Forbidden",
    "InvalidProviderToken",
    "MissingProviderToken",
    "UnrelatedKeyIdInToken",
    "BadEnvironmentKeyIdInToken",
    "TooManyProviderTokenUpdates",
}
_FAILURES = {
    "DeviceTokenNotForTopic": "device_token_not_for_topic",
    "TopicDisallowed": "topic_disallowed",
    "BadTopic": "bad_topic",
    "PayloadTooLarge": "payload_too_large",
}


def outcome_of(answer: Answer) -> Outcome:
    """Read Apple's answer to a push."""
    reason = _reason(answer)
    if answer.status == _OK:
        return Sent()
    if answer.status == _GONE or reason in _INVALID_TOKENS:
        return Gone(_INVALID_TOKENS.get(reason, "unregistered"))
    if reason in _REFUSED_CREDENTIALS:
        # The next attempt has a new token, when that is what it was about; else nothing will work until it is mended.
        return Retry("credentials_refused", answer.retry_after, is_down=reason != "ExpiredProviderToken")
    return answer.trouble() or Failed(_FAILURES.get(reason, f"http_{answer.status}"))


def _reason(answer: Answer) -> str:
    found = answer.json().get("reason")
    return found if isinstance(found, str) else ""
