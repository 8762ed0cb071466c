"""The providers against servers that speak the real protocols: what arrives, and what comes of what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import logging
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifier.apns import ApnsKey, ApnsProvider
from notifier.fcm import FcmProvider
from notifier.http import Http
from notifier.notice import Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from notifier.web_push import WebPushProvider
from notifier.web_push_encryption import Vapid
from tests.support.clock import FakeClock
from tests.support.providers.apns import KEY_ID, TEAM_ID, TOPIC, ApnsServer, refusal
from tests.support.providers.certificates import make_certificate, server_context
from tests.support.providers.fcm import FcmServer, error, fcm_error
from tests.support.providers.server import Answer, Http2Server, Reply, Trouble
from tests.support.providers.web_push import WebPushServer
from tidings_server.notifier import service_account
from tidings_server.settings import FcmSection

TTL = 3_600
TEXT = "héllo, the words of a message"
DEVICE = "00ff" * 16
NOTICE = Notice("u1", "gchannel", 7, "u9", "Ann", TEXT, 3, None, 1_749_999_995_000)
SILENT = dataclasses.replace(NOTICE, sender_id="", title="", body="", unread=0)


@dataclass
class World:
    fcm_server: FcmServer
    apns_server: ApnsServer
    web_push_server: WebPushServer
    fcm: FcmProvider
    apns: ApnsProvider
    web_push: WebPushProvider
    clock: FakeClock

    def of(self, name: str) -> tuple[Http2Server, Provider, str]:
        return {
            "fcm": (self.fcm_server, self.fcm, "token"),
            "apns": (self.apns_server, self.apns, DEVICE),
            "web push": (self.web_push_server, self.web_push, self.web_push_server.subscribe("b1")),
        }[name]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    certificate, key = make_certificate(tmp_path)
    context, trust = server_context(certificate, key), ssl.create_default_context(cafile=certificate)
    fcm_server, apns_server, web_push_server = FcmServer(), ApnsServer(), WebPushServer()
    servers: list[Http2Server] = [fcm_server, apns_server, web_push_server]
    for server in servers:
        await server.start(context)
    clock = FakeClock(round(time.time() * 1000))
    account = service_account(FcmSection(service_account=fcm_server.write_account(tmp_path / "account.json")))
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:ops@example.org", clock)
    web_push_server.application_key = vapid.public_key
    apns_key = ApnsKey(KEY_ID, TEAM_ID, apns_server.key)
    world = World(
        fcm_server,
        apns_server,
        web_push_server,
        FcmProvider(account, Http(trust), clock, TTL, fcm_server.url),
        ApnsProvider(apns_key, TOPIC, Http(trust), clock, TTL, apns_server.url),
        WebPushProvider(vapid, Http(trust), clock, TTL, ["127.0.0.1"]),
        clock,
    )
    for server in servers:
        server.now = lambda: clock.now_ms() / 1000
    yield world
    for provider in (world.fcm, world.apns, world.web_push):
        await provider.close()
    for server in servers:
        await server.stop()


# --- what arrives -----------------------------------------------------------------------------------------------------


async def test_fcm_shows_the_message_in_place_of_the_channels_last_one(world: World) -> None:
    assert await world.fcm.send("token", NOTICE) == Sent()
    assert world.fcm_server.messages == [
        {
            "token": "token",
            "data": {"type": "message", "channel_id": "gchannel", "seq": "7", "unread": "3", "sender_id": "u9"},
            "notification": {"title": "Ann", "body": TEXT},
            "android": {
                "priority": "HIGH",
                "ttl": "3600s",
                "notification": {"tag": "gchannel", "notification_count": 3},
            },
        }
    ]


async def test_fcm_tells_silently_that_a_channel_was_read(world: World) -> None:
    assert await world.fcm.send("token", SILENT) == Sent()
    (message,) = world.fcm_server.messages
    assert "notification" not in message
    assert message["data"] == {"type": "read", "channel_id": "gchannel", "seq": "7", "unread": "0"}
    assert message["android"]["priority"] == "NORMAL"


async def test_apns_shows_the_message_in_place_of_the_channels_last_one(world: World) -> None:
    assert await world.apns.send(DEVICE, dataclasses.replace(NOTICE, unread_in_all=12)) == Sent()
    ((device, headers, payload),) = world.apns_server.pushes
    assert device == DEVICE
    assert {name: value for name, value in headers.items() if name.startswith("apns-")} == {
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(world.clock.now_ms() // 1000 + TTL),
        "apns-collapse-id": "gchannel",
    }
    assert payload["aps"]["alert"] == {"title": "Ann", "body": TEXT}
    assert (payload["aps"]["badge"], payload["aps"]["thread-id"]) == (12, "gchannel")
    assert (payload["channel_id"], payload["seq"], payload["unread"]) == ("gchannel", 7, 3)


async def test_apns_sets_the_badge_silently_when_a_channel_was_read(world: World) -> None:
    assert await world.apns.send(DEVICE, dataclasses.replace(SILENT, unread_in_all=9)) == Sent()
    ((_, headers, payload),) = world.apns_server.pushes
    assert payload["aps"] == {"badge": 9, "content-available": 1}
    assert headers["apns-priority"] == "5"
    assert "apns-collapse-id" not in headers, "it would replace what is shown by an empty push"


async def test_a_browser_decrypts_what_nobody_in_between_can_read(world: World) -> None:
    assert await world.web_push.send(world.web_push_server.subscribe("b1"), NOTICE) == Sent()
    ((name, headers, payload),) = world.web_push_server.pushes
    assert (name, headers["ttl"], headers["urgency"]) == ("b1", "3600", "high")
    assert payload == {
        "type": "message",
        "channel_id": "gchannel",
        "seq": 7,
        "title": "Ann",
        "body": TEXT,
        "unread": 3,
        "sender_id": "u9",
    }
    assert "gchannel" not in headers["topic"]


async def test_pushes_for_one_channel_have_one_topic(world: World) -> None:
    subscription = world.web_push_server.subscribe("b1")
    for channel_id in ("g1", "g1", "g2"):
        assert await world.web_push.send(subscription, dataclasses.replace(NOTICE, channel_id=channel_id)) == Sent()
    one, again, other = [headers["topic"] for _, headers, _ in world.web_push_server.pushes]
    assert one == again != other


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_what_is_longest_still_fits(world: World, name: str) -> None:
    _, provider, token = world.of(name)
    longest = dataclasses.replace(NOTICE, title="🙂" * 195, body="🙂" * 256)
    assert await provider.send(token, longest) == Sent()


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_a_hundred_at_once_share_a_few_connections(world: World, name: str) -> None:
    server, provider, token = world.of(name)
    assert await provider.send(token, NOTICE) == Sent()
    outcomes = await asyncio.gather(*(provider.send(token, NOTICE) for _ in range(100)))
    assert set(outcomes) == {Sent()}
    assert server.connections <= 4


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_fcms_access_token_is_used_until_it_is_about_to_end(world: World) -> None:
    await asyncio.gather(*(world.fcm.send("token", NOTICE) for _ in range(10)))
    assert world.fcm_server.tokens_issued == 1
    world.clock.advance(3_600 - 301)
    assert await world.fcm.send("token", NOTICE) == Sent()
    assert world.fcm_server.tokens_issued == 1
    world.clock.advance(2)
    assert await world.fcm.send("token", NOTICE) == Sent()
    assert world.fcm_server.tokens_issued == 2


async def test_fcms_access_token_is_renewed_when_it_is_refused(world: World) -> None:
    assert await world.fcm.send("token", NOTICE) == Sent()
    world.fcm_server.revoke()
    assert await world.fcm.send("token", NOTICE) == Retry("credentials_refused", is_down=True)
    assert await world.fcm.send("token", NOTICE) == Sent()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Reply.json(400, {"error": "invalid_grant"}), Retry("oauth_refused", is_down=True)),
        (Reply.json(200, {"access_token": 7}), Retry("oauth_refused", is_down=True)),
        (Reply(200, b"no JSON"), Retry("oauth_refused", is_down=True)),
        (Reply(503), Retry("http_503", is_down=True)),
        (Trouble.RESET, Retry("connection", is_down=True)),
    ],
)
async def test_without_an_access_token_nothing_is_sent(world: World, answer: Answer, outcome: Outcome) -> None:
    world.fcm_server.token_script.append(answer)
    assert await world.fcm.send("token", NOTICE) == outcome
    assert world.fcm_server.messages == []
    assert await world.fcm.send("token", NOTICE) == Sent()


async def test_apns_gets_a_new_provider_token_before_the_hour_is_over(world: World) -> None:
    for _ in range(5):
        assert await world.apns.send(DEVICE, NOTICE) == Sent()
        world.clock.advance(1_000)
    assert len(world.apns_server.provider_tokens) == 2, "neither too old nor renewed too often"


async def test_apns_gets_a_new_provider_token_when_it_calls_one_expired(world: World) -> None:
    assert await world.apns.send(DEVICE, NOTICE) == Sent()
    world.clock.advance(1)
    world.apns_server.script.append(refusal(403, "ExpiredProviderToken"))
    assert await world.apns.send(DEVICE, NOTICE) == Retry("credentials_refused")
    assert await world.apns.send(DEVICE, NOTICE) == Sent()
    assert len(world.apns_server.provider_tokens) == 2


async def test_a_push_service_gets_a_token_that_lasts(world: World) -> None:
    subscription = world.web_push_server.subscribe("b1")
    tokens = set()
    for _ in range(4):
        assert await world.web_push.send(subscription, NOTICE) == Sent()
        tokens.add(world.web_push_server.pushes[-1][1]["authorization"])
        world.clock.advance(4 * 3_600)
    assert len(tokens) == 2


# --- refusals ---------------------------------------------------------------------------------------------------------

_ABOUT_TOKEN = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [{"field": "message.token", "description": "Invalid registration token"}],
}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (fcm_error(404, "UNREGISTERED"), Gone("unregistered")),
        (error(400, "INVALID_ARGUMENT", _ABOUT_TOKEN), Gone("invalid_token")),
        (error(400, "INVALID_ARGUMENT"), Failed("invalid_argument")),
        (fcm_error(403, "SENDER_ID_MISMATCH"), Failed("sender_id_mismatch")),
        (fcm_error(401, "THIRD_PARTY_AUTH_ERROR"), Failed("third_party_auth")),
        (error(403, "PERMISSION_DENIED"), Retry("credentials_refused", is_down=True)),
        (error(404, "NOT_FOUND"), Failed("not_found")),
        (fcm_error(429, "QUOTA_EXCEEDED"), Retry("quota_exceeded", 60.0)),
        (fcm_error(429, "QUOTA_EXCEEDED", **{"retry-after": "17"}), Retry("quota_exceeded", 17.0)),
        (fcm_error(503, "UNAVAILABLE", **{"retry-after": "5"}), Retry("http_503", 5.0, is_down=True)),
        (fcm_error(500, "INTERNAL"), Retry("http_500", is_down=True)),
        (Reply(418, b"[1, 2"), Failed("http_418")),
        (Reply.json(400, {"error": ["odd"]}), Failed("invalid_argument")),
        (Reply.json(400, {"error": {"details": [{"fieldViolations": ["odd"]}]}}), Failed("invalid_argument")),
    ],
)
async def test_what_fcm_answers(world: World, answer: Answer, outcome: Outcome) -> None:
    world.fcm_server.script.append(answer)
    assert await world.fcm.send("token", NOTICE) == outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (refusal(410, "Unregistered"), Gone("unregistered")),
        (refusal(410, "ExpiredToken"), Gone("expired_token")),
        (Reply(410), Gone("unregistered")),
        (refusal(400, "BadDeviceToken"), Gone("bad_device_token")),
        (refusal(400, "DeviceTokenNotForTopic"), Failed("device_token_not_for_topic")),
        (refusal(413, "PayloadTooLarge"), Failed("payload_too_large")),
        (refusal(403, "InvalidProviderToken"), Retry("credentials_refused", is_down=True)),
        (refusal(429, "TooManyProviderTokenUpdates"), Retry("credentials_refused", is_down=True)),
        (refusal(429, "TooManyRequests", **{"retry-after": "30"}), Retry("too_fast", 30.0)),
        (refusal(503, "ServiceUnavailable"), Retry("http_503", is_down=True)),
        (refusal(500, "InternalServerError"), Retry("http_500", is_down=True)),
        (refusal(400, "a reason of tomorrow"), Failed("http_400")),
        (Reply.json(400, {"reason": 7}), Failed("http_400")),
    ],
)
async def test_what_apns_answers(world: World, answer: Answer, outcome: Outcome) -> None:
    world.apns_server.script.append(answer)
    assert await world.apns.send(DEVICE, NOTICE) == outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Reply(202), Sent()),
        (Reply(404), Gone("unsubscribed")),
        (Reply(410), Gone("unsubscribed")),
        (Reply(403, b"the wrong key"), Failed("credentials_refused")),
        (Reply(413), Failed("payload_too_large")),
        (Reply(400), Failed("http_400")),
        (Reply(307, headers={"location": "https://elsewhere.example"}), Failed("http_307")),
        (Reply(429, headers={"retry-after": "9"}), Retry("too_fast", 9.0)),
        (Reply(429, headers={"retry-after": "soon"}), Retry("too_fast")),
        (Reply(502, b"x" * 50_000), Retry("http_502")),
    ],
)
async def test_what_a_push_service_answers(world: World, answer: Answer, outcome: Outcome) -> None:
    world.web_push_server.script.append(answer)
    assert await world.web_push.send(world.web_push_server.subscribe("b1"), NOTICE) == outcome


async def test_a_date_in_retry_after_is_understood(world: World) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    world.web_push_server.script.append(Reply(429, headers={"retry-after": date}))
    outcome = await world.web_push.send(world.web_push_server.subscribe("b1"), NOTICE)
    assert isinstance(outcome, Retry) and outcome.after is not None
    assert 90 < outcome.after <= 100


@pytest.mark.parametrize("token", ["", "no JSON", '{"endpoint": "https://127.0.0.1/"}', "[]"])
async def test_what_is_no_subscription_is_forgotten(world: World, token: str) -> None:
    assert await world.web_push.send(token, NOTICE) == Gone("no_subscription")


async def test_no_url_is_called_but_of_the_push_services_that_are_allowed(world: World) -> None:
    server = world.web_push_server
    elsewhere = WebPushProvider(
        Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:a@b.example", world.clock),
        Http(ssl.create_default_context()),
        world.clock,
        TTL,
    )
    assert await elsewhere.send(server.subscribe("b1"), NOTICE) == Gone("unknown_push_service")
    assert server.connections == 0
    await elsewhere.close()


async def test_a_push_service_that_is_down_is_left_alone_and_the_others_are_not(world: World) -> None:
    server, provider, token = world.web_push_server, world.web_push, world.web_push_server.subscribe("b1")
    server.always = Reply(503)
    for _ in range(5):
        assert await provider.send(token, NOTICE) == Retry("http_503")
    server.always = None
    outcome = await provider.send(token, NOTICE)
    assert isinstance(outcome, Retry) and outcome.reason == "push_service_down" and not outcome.is_down
    assert outcome.after is not None and 0.5 <= outcome.after <= 1
    assert server.pushes == [], "it was not called"
    port = server.url.rpartition(":")[2]
    elsewhere = token.replace(port, "1")
    assert await provider.send(elsewhere, NOTICE) == Retry("connect"), "another one is called"
    world.clock.advance(1)
    assert await provider.send(token, NOTICE) == Sent(), "and after a while this one"


# --- a connection that fails ------------------------------------------------------------------------------------------


def failure(name: str, reason: str) -> Retry:
    """Of several push services one alone may be down."""
    return Retry(reason, is_down=name != "web push")


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.GARBAGE, Trouble.GO_AWAY])
async def test_a_connection_that_breaks_is_tried_again_with_another(world: World, name: str, trouble: Trouble) -> None:
    server, provider, token = world.of(name)
    assert await provider.send(token, NOTICE) == Sent()
    server.script.append(trouble)
    assert await provider.send(token, NOTICE) == failure(name, "connection")
    assert await provider.send(token, NOTICE) == Sent()


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_a_connection_that_was_closed_while_nothing_was_sent_costs_one_attempt(world: World, name: str) -> None:
    server, provider, token = world.of(name)
    assert await provider.send(token, NOTICE) == Sent()
    connections = server.connections
    await server.drop_connections()
    assert await provider.send(token, NOTICE) == failure(name, "connection")
    assert await provider.send(token, NOTICE) == Sent()
    assert server.connections == connections + 1


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_a_send_that_is_cut_off_does_not_harm_the_others(world: World, name: str) -> None:
    server, provider, token = world.of(name)
    assert await provider.send(token, NOTICE) == Sent()
    server.script.append(Trouble.SILENCE)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await provider.send(token, NOTICE)
        server.script.append(Trouble.SILENCE)
    server.script.clear()
    outcomes = await asyncio.gather(*(provider.send(token, NOTICE) for _ in range(20)))
    assert set(outcomes) == {Sent()}


@pytest.mark.parametrize("name", ["apns", "web push"])
async def test_a_server_that_is_away_is_down(world: World, name: str) -> None:
    server, provider, token = world.of(name)
    await server.stop()
    assert await provider.send(token, NOTICE) == failure(name, "connect")


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_a_server_that_cannot_show_who_it_is_gets_nothing(world: World, name: str, tmp_path: Path) -> None:
    _, provider, token = world.of(name)
    provider._http = Http(ssl.create_default_context())  # type: ignore[attr-defined]  # that does not trust it
    if isinstance(provider, FcmProvider):
        provider._tokens._http = provider._http
    assert await provider.send(token, NOTICE) == failure(name, "connect")


@pytest.mark.parametrize("name", ["fcm", "apns", "web push"])
async def test_neither_token_nor_text_reaches_the_log(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, provider, token = world.of(name)
    with caplog.at_level(logging.INFO):
        for answer in (Reply(500), Trouble.RESET, Reply(410)):
            server.script.append(answer)
            await provider.send(token, NOTICE)
        assert await provider.send(token, NOTICE) == Sent()
    for secret in (token, TEXT, "/browser/b1"):
        assert secret not in caplog.text
