"""Encryption for browsers, against the example of RFC 8291, appendix A, and the RFCs' author's own code, http-ece."""

from __future__ import annotations

import base64
import json

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.web_push_encryption import Secrets, encoded, encrypt, point
from tests.support.providers.web_push import Browser
from tidings.core.web_push import PushSubscription

PLAINTEXT = b"When I grow up, I want to be a watermelon"
SERVER_KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
BROWSER_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SECRET = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
MESSAGE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
# The order of P-256: a private key is any number below it but 0.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# What a push service takes at least (RFC 8030), and what is left of it (RFC 8291).
MESSAGE_BYTES, CONTENT_BYTES = 4096, 3993


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_example_of_the_standard() -> None:
    key = ec.derive_private_key(int.from_bytes(_bytes(SERVER_KEY), "big"), ec.SECP256R1())
    subscription = PushSubscription("https://push.example.net/", _bytes(BROWSER_KEY), _bytes(SECRET))
    assert encoded(encrypt(PLAINTEXT, subscription, Secrets(key, _bytes(SALT)))) == MESSAGE


@given(
    browser=st.integers(1, ORDER - 1),
    server=st.integers(1, ORDER - 1),
    secret=st.binary(min_size=16, max_size=16),
    salt=st.binary(min_size=16, max_size=16),
    content=st.binary(max_size=CONTENT_BYTES),
)
@example(browser=1, server=ORDER - 1, secret=bytes(16), salt=bytes(16), content=b"")
@example(browser=ORDER - 1, server=1, secret=b"\xff" * 16, salt=b"\xff" * 16, content=bytes(CONTENT_BYTES))
@example(browser=2, server=3, secret=bytes(16), salt=bytes(16), content=b"\x02" * (CONTENT_BYTES - 1))
def test_an_independent_implementation_decrypts_any_message(
    browser: int, server: int, secret: bytes, salt: bytes, content: bytes
) -> None:
    key = ec.derive_private_key(browser, ec.SECP256R1())
    subscription = PushSubscription("https://push.example.net/", point(key.public_key()), secret)
    message = encrypt(content, subscription, Secrets(ec.derive_private_key(server, ec.SECP256R1()), salt))
    assert len(message) == len(content) + MESSAGE_BYTES - CONTENT_BYTES
    assert http_ece.decrypt(message, private_key=key, auth_secret=secret) == content


def test_the_same_text_never_looks_the_same_twice() -> None:
    browser = Browser()
    subscription = PushSubscription.parse(browser.subscription("https://push.example.net/x"))
    one, two = encrypt(PLAINTEXT, subscription), encrypt(PLAINTEXT, subscription)
    assert one != two
    assert browser.decrypt(one) == browser.decrypt(two) == PLAINTEXT


def test_a_key_that_is_not_on_the_curve_is_refused() -> None:
    subscription = PushSubscription("https://push.example.net/", b"\x04" + bytes(64), bytes(16))
    with pytest.raises(ValueError, match=r"."):
        encrypt(PLAINTEXT, subscription)


def test_a_subscription_is_read_whole() -> None:
    text = json.dumps(
        {"endpoint": "https://Push.example.net:8443/a/b?c", "keys": {"p256dh": BROWSER_KEY, "auth": SECRET}}
    )
    subscription = PushSubscription.parse(text)
    assert subscription.origin == "https://Push.example.net:8443"
    assert subscription.host == "push.example.net"
    assert (subscription.public_key, subscription.secret) == (_bytes(BROWSER_KEY), _bytes(SECRET))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"endpoint": "http://push.example.net/"}, "its endpoint must be an https URL"),
        ({"endpoint": "https://user:word@push.example.net/"}, "its endpoint must be an https URL"),
        ({"endpoint": "https:///nowhere"}, "its endpoint must be an https URL"),
        ({"endpoint": "https://push.example.net/a\nb"}, "its endpoint must be an https URL"),
        ({"endpoint": "https://push.example.net/\0"}, "its endpoint must be an https URL"),
        ({"endpoint": "https://push.example.net/a b"}, "its endpoint must be an https URL"),
        ({"endpoint": "https://push.example.net:port/"}, "its endpoint must be an https URL"),
        ({"endpoint": 7}, "its endpoint must be an https URL"),
        ({"keys": {"p256dh": SALT, "auth": SECRET}}, "its keys.p256dh must be an uncompressed point of P-256"),
        ({"keys": {"p256dh": BROWSER_KEY, "auth": "AAAA"}}, "its keys.auth must have 16 bytes"),
        ({"keys": {"p256dh": BROWSER_KEY}}, "it must be JSON with endpoint, keys.p256dh and keys.auth"),
        ({"keys": {"p256dh": "ä", "auth": SECRET}}, "it must be JSON with endpoint, keys.p256dh and keys.auth"),
        ({"keys": None}, "it must be JSON with endpoint, keys.p256dh and keys.auth"),
    ],
)
def test_what_is_no_subscription(change: dict[str, object], why: str) -> None:
    good: dict[str, object] = {
        "endpoint": "https://push.example.net/",
        "keys": {"p256dh": BROWSER_KEY, "auth": SECRET},
    }
    with pytest.raises(ValueError) as refused:
        PushSubscription.parse(json.dumps(good | change))
    assert str(refused.value) == why
