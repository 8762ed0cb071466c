"""All three providers, and the settings with which a server finds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from notifier.web_push_encryption import encoded, point
from tests.support.providers.apns import KEY_ID, TEAM_ID, TOPIC, ApnsServer
from tests.support.providers.certificates import make_certificate, private_pem, server_context
from tests.support.providers.fcm import FcmServer
from tests.support.providers.server import Http2Server
from tests.support.providers.web_push import WebPushServer


@dataclass(frozen=True)
class Site:
    fcm: FcmServer
    apns: ApnsServer
    web_push: WebPushServer
    config: str
    """TOML: [push] and what is below it."""


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """The servers, with files in a folder."""
    certificate, key = make_certificate(folder)
    context = server_context(certificate, key)
    fcm, apns, web_push = FcmServer(), ApnsServer(), WebPushServer()
    servers: list[Http2Server] = [fcm, apns, web_push]
    for server in servers:
        await server.start(context)
    vapid = ec.generate_private_key(ec.SECP256R1())
    web_push.application_key = encoded(point(vapid.public_key()))
    (folder / "vapid.pem").write_bytes(private_pem(vapid))
    config = f"""
[push]
authority = "{certificate}"

[push.fcm]
service_account = "{fcm.write_account(folder / "account.json")}"
url = "{fcm.url}"

[push.apns]
key = "{apns.write_key(folder / "key.p8")}"
key_id = "{KEY_ID}"
team_id = "{TEAM_ID}"
topic = "{TOPIC}"
url = "{apns.url}"

[push.web_push]
key = "{folder / "vapid.pem"}"
contact = "mailto:ops@example.org"
hosts = ["127.0.0.1"]
"""
    try:
        yield Site(fcm, apns, web_push, config)
    finally:
        for server in servers:
            await server.stop()
