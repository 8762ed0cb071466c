"""Web Push (RFC 8030): browsers."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from notifier.breaker import Breaker
from notifier.http import Answer, Http
from notifier.notice import Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from notifier.web_push_encryption import Vapid, encoded, encrypt
from tidings.core.clock import Clock
from tidings.core.web_push import PushSubscription

HOSTS = (
    "fcm.googleapis.com",
    "jmt17.google.com",
    "updates.push.services.mozilla.com",
    "*.push.services.mozilla.com",
    "web.push.apple.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)
"""The push services of the browsers that there are."""

_TOPIC_BYTES = 24
# Of some services every server has a name of its own. This bounds for how many it is remembered whether they are down.
_ORIGINS = 256
# Seconds, while another push asks whether a service is back.
_SOON = 2.0
_SUCCESS = range(200, 300)


class WebPushProvider(Provider):
    """Sends to browsers. The token is a subscription as JSON, its push service one of those that are allowed.

    A browser must show whatever it is pushed, so there are no silent ones. Each push service has a breaker of its own:
    one that is down must not hold back the browsers of the others, whose pushes go through the same provider.

    Args:
        vapid: Who sends.
        http: The connections; closed with the provider.
        clock: Tells how long a service has been left alone.
        ttl: Seconds for which a service keeps a push for a browser that does not run.
        hosts: The push services, `*` for any characters. Whoever registers a token names the URL that is called:
            with no such list it could be one that only servers in here can reach.
    """

    can_be_silent: ClassVar[bool] = False

    def __init__(self, vapid: Vapid, http: Http, clock: Clock, ttl: int, hosts: Collection[str] = HOSTS) -> None:
        self._vapid = vapid
        self._http = http
        self._clock = clock
        self._ttl = ttl
        self._breakers: dict[str, Breaker] = {}
        self._hosts = tuple(each.lower() for each in hosts)

    async def send(self, token: str, notice: Notice) -> Outcome:
        """See `Provider.send`."""
        try:
            subscription = PushSubscription.parse(token)
            content = encrypt(json.dumps(payload(notice), ensure_ascii=False).encode(), subscription)
        except ValueError:
            return Gone("no_subscription")
        if not any(fnmatch.fnmatchcase(subscription.host, each) for each in self._hosts):
            return Gone("unknown_push_service")
        headers = {
            "authorization": self._vapid.authorization(subscription.origin),
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(self._ttl),
            "urgency": "high",
            "topic": topic(notice.channel_id),
        }
        breaker = self._breaker(subscription.origin)
        if not breaker.free_slots(1):
            return Retry("push_service_down", breaker.wait() or _SOON)
        breaker.ask()
        era = breaker.era
        try:
            answer = await self._http.post(subscription.endpoint, headers, content)
        finally:
            breaker.undecided(era)
        outcome = answer if isinstance(answer, Retry) else outcome_of(answer)
        if isinstance(outcome, Retry) and outcome.is_down:
            breaker.failed(era, outcome.after)
            return dataclasses.replace(outcome, is_down=False)
        breaker.succeeded()
        return outcome

    def _breaker(self, origin: str) -> Breaker:
        if origin not in self._breakers:
            if len(self._breakers) >= _ORIGINS:
                self._breakers.clear()
            self._breakers[origin] = Breaker(self._clock)
        return self._breakers[origin]

    async def close(self) -> None:
        """See `Provider.close`."""
        await self._http.close()


def payload(notice: Notice) -> Mapping[str, Any]:
    """Make the JSON that the service worker gets."""
    found = {
        "type": "message",
        "channel_id": notice.channel_id,
        "seq": notice.seq,
        "title": notice.title,
        "body": notice.body,
        "unread": notice.unread,
    }
    return found | ({"sender_id": notice.sender_id} if notice.sender_id else {})


def topic(channel_id: str) -> str:
    """Name a channel without telling anything about it: a later push replaces one that the push service still has."""
    return encoded(hashlib.sha256(channel_id.encode()).digest()[:_TOPIC_BYTES])


def outcome_of(answer: Answer) -> Outcome:
    """Read a push service's answer."""
    if answer.status in _SUCCESS:
        return Sent()
    match answer.status:
        case 404 | 410:
            return Gone("unsubscribed")
        case 401 | 403:
            # One subscription may have been made with another key; the others go on.
            return Failed("credentials_refused")
        case 413:
            return Failed("payload_too_large")
        case _:
            return answer.trouble() or Failed(f"http_{answer.status}")
