"""The settings of push: what is wrong with them is one sentence that names the setting and the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.clock import FakeClock
from tests.support.providers.certificates import make_certificate, private_pem
from tidings.core.values import PushProvider
from tidings_server.notifier import providers
from tidings_server.settings import Settings, SettingsError, load

APNS = """
[push.apns]
key = "{file}"
key_id = "KEY4567890"
team_id = "TEAM567890"
topic = "org.example.chat"
"""
FCM = """
[push.fcm]
service_account = "{file}"
"""
WEB_PUSH = """
[push.web_push]
key = "{file}"
contact = "mailto:ops@example.org"
"""
P384 = private_pem(ec.generate_private_key(ec.SECP384R1()))
ED25519 = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
P256 = private_pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def account() -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": private_pem(rsa.generate_private_key(65537, 2048)).decode(),
        "client_email": "a@b.example",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def settings(folder: Path, text: str, content: bytes | None = None) -> Settings:
    file = folder / "file"
    if content is not None:
        file.write_bytes(content)
    (folder / "tidings.toml").write_text(text.format(file=file))
    return load(folder / "tidings.toml")


def error(folder: Path, text: str, content: bytes | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        providers(settings(folder, text, content).push, FakeClock())
    return str(refused.value).replace(str(folder / "file"), "FILE")


@pytest.mark.parametrize(
    ("text", "content", "sentence"),
    [
        (APNS, None, "push.apns.key: FILE cannot be read: No such file or directory"),
        (APNS, b"junk", "push.apns.key: FILE has no private key in PEM without a password"),
        (APNS, P384, "push.apns.key: FILE is not a P-256 key"),
        (APNS, ED25519, "push.apns.key: FILE is not a P-256 key"),
        (WEB_PUSH, None, "push.web_push.key: FILE cannot be read: No such file or directory"),
        (WEB_PUSH, ED25519, "push.web_push.key: FILE is not a P-256 key"),
        (FCM, None, "push.fcm.service_account: FILE cannot be read: No such file or directory"),
        (FCM, b"junk", "push.fcm.service_account: FILE is not JSON"),
        (FCM, b"[]", "push.fcm.service_account: FILE is not the JSON file of a service account"),
        (FCM, P256, "push.fcm.service_account: FILE is not JSON"),
    ],
)
def test_a_key_that_cannot_be_used(tmp_path: Path, text: str, content: bytes | None, sentence: str) -> None:
    assert error(tmp_path, text, content) == sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "authorized_user"}, "FILE is not the JSON file of a service account"),
        ({"client_email": ""}, "FILE has no client_email"),
        ({"project_id": 7}, "FILE has no project_id"),
        ({"private_key": "junk"}, "FILE has no private key in PEM without a password"),
        ({"private_key": P256.decode()}, "the private_key in FILE is not an RSA key"),
        ({"token_uri": "http://plain.example/token"}, "the token_uri in FILE is not an https URL"),
    ],
)
def test_a_service_account_that_cannot_be_used(
    tmp_path: Path, account: dict[str, str], change: dict[str, object], sentence: str
) -> None:
    found = error(tmp_path, FCM, json.dumps(account | change).encode())
    assert found == f"push.fcm.service_account: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (APNS.replace("KEY4567890", "SHORT"), "push.apns.key_id: String should have at least 10 characters"),
        (APNS + 'environment = "test"', "push.apns.environment: Input should be 'production' or 'sandbox'"),
        (WEB_PUSH.replace("mailto:", ""), "push.web_push.contact: must begin with mailto: or https://"),
        ('[push]\npreview = "some"', "push.preview: Input should be 'none', 'sender' or 'full'"),
        ("[push.gcm]", "push.gcm: Extra inputs are not permitted"),
    ],
)
def test_a_setting_that_makes_no_sense(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(tmp_path, text)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(("days", "what"), [(-1, "expired on"), (11, "is good only from")])
def test_a_certificate_that_is_not_good_today(tmp_path: Path, days: int, what: str) -> None:
    certificate, _ = make_certificate(tmp_path, days=days)
    assert f"certificate.pem: the certificate {what} 20" in error(tmp_path, f'[push]\nauthority = "{certificate}"')


async def test_what_is_set_is_there(tmp_path: Path, account: dict[str, str]) -> None:
    def found(text: str, content: bytes) -> set[PushProvider]:
        return set(providers(settings(tmp_path, text, content).push, FakeClock()))

    log = PushProvider.LOG
    assert found("", b"") == {log}
    assert found(APNS, P256) == {log, PushProvider.APNS}
    assert found(WEB_PUSH, P256) == {log, PushProvider.WEB_PUSH}
    assert found(FCM, json.dumps(account).encode()) == {log, PushProvider.FCM}
