"""Access tokens: what is accepted, and all that is not."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.clock import FakeClock
from tidings.core.errors import Code, Refusal
from tidings.core.values import Identity
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier

LIFETIME_MS = 900_000
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()


class Desk:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.revocations = Revocations(self.clock, LIFETIME_MS)
        self.issuer = TokenIssuer(KEY, "k1", self.clock, LIFETIME_MS)
        self.verifier = TokenVerifier({"k1": KEY.public_key()}, self.clock, self.revocations)

    def claims(self, **changed: object) -> dict[str, object]:
        now = self.clock.now_ms() / 1000
        return {"iss": "tidings", "sub": "u1", "dev": "v1", "iat": now, "exp": now + 900} | changed

    def refused(self, token: str) -> str:
        with pytest.raises(Refusal) as refused:
            self.verifier.verify(token)
        assert refused.value.code is Code.UNAUTHENTICATED
        return refused.value.reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def signed(claims: dict[str, object], key: Ed25519PrivateKey = KEY, key_id: object = "k1") -> str:
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})


def test_a_token_says_who_and_until_when(desk: Desk) -> None:
    token, expires_at_ms = desk.issuer.issue("u1", "v1", 3)
    assert expires_at_ms == desk.clock.now_ms() + LIFETIME_MS
    desk.clock.advance(100)
    assert desk.verifier.verify(token) == Identity("u1", "v1", desk.clock.monotonic() + 800, epoch=3)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT", "kid": "k1"}


def test_a_hand_made_token_with_the_key_is_as_good(desk: Desk) -> None:
    # So that the refusals below are for what they say.
    assert desk.verifier.verify(signed(desk.claims())).user_id == "u1"


def test_a_token_runs_out(desk: Desk) -> None:
    token, _ = desk.issuer.issue("u1", "v1")
    desk.clock.advance(899.999)
    desk.verifier.verify(token)
    desk.clock.advance(0.001)
    assert desk.refused(token) == "TOKEN_EXPIRED"


def test_a_secret_belongs_to_its_text_and_to_the_key(desk: Desk) -> None:
    secret = desk.issuer.secret_of("text")
    assert len(secret) == 43
    assert TokenIssuer(KEY, "another name", desk.clock, 1).secret_of("text") == secret
    others = desk.issuer.secret_of("text "), TokenIssuer(OTHER, "k1", desk.clock, LIFETIME_MS).secret_of("text")
    assert len({secret, *others}) == 3


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_an_unsigned_token_is_refused(desk: Desk, algorithm: str) -> None:
    head = encoded({"alg": algorithm, "typ": "JWT", "kid": "k1"})
    body = encoded(desk.claims())
    _, _, signature = signed(desk.claims()).split(".")
    assert desk.refused(f"{head}.{body}.") == "TOKEN_INVALID"
    assert desk.refused(f"{head}.{body}.{signature}") == "TOKEN_INVALID"


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(desk: Desk) -> None:
    public = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    token = jwt.encode(desk.claims(), public, algorithm="HS256", headers={"kid": "k1"})
    assert desk.refused(token) == "TOKEN_INVALID"


def test_a_token_signed_with_another_key_is_refused(desk: Desk) -> None:
    assert desk.refused(signed(desk.claims(), OTHER)) == "TOKEN_INVALID"
    assert desk.refused(signed(desk.claims(), OTHER, "k2")) == "TOKEN_INVALID"
    assert desk.refused(jwt.encode(desk.claims(), OTHER, algorithm="EdDSA")) == "TOKEN_INVALID"


def test_a_token_with_a_key_of_its_own_in_the_header_is_refused(desk: Desk) -> None:
    key = encoded({"kty": "OKP", "crv": "Ed25519"})
    token = jwt.encode(desk.claims(), OTHER, algorithm="EdDSA", headers={"kid": "k1", "jwk": key})
    assert desk.refused(token) == "TOKEN_INVALID"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_changed_anywhere_is_refused(desk: Desk, part: int) -> None:
    token, _ = desk.issuer.issue("u1", "v1")
    parts = token.split(".")
    middle = len(parts[part]) // 2
    parts[part] = parts[part][:middle] + ("A" if parts[part][middle] != "A" else "B") + parts[part][middle + 1 :]
    assert desk.refused(".".join(parts)) == "TOKEN_INVALID"


@pytest.mark.parametrize("claim", ["iss", "sub", "dev", "iat", "exp"])
def test_every_claim_is_needed(desk: Desk, claim: str) -> None:
    claims = desk.claims()
    del claims[claim]
    assert desk.refused(signed(claims)) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"exp": "soon"},
        {"exp": None},
        {"exp": [1]},
        {"iat": "then"},
        {"iat": {}},
        {"epoch": "x"},
        {"epoch": []},
    ],
)
def test_claims_of_the_wrong_kind_are_refused(desk: Desk, changed: dict[str, object]) -> None:
    assert desk.refused(signed(desk.claims(**changed))) == "TOKEN_INVALID"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("claim", ["iat", "exp"])
def test_times_that_are_no_number_are_refused(desk: Desk, claim: str, number: str) -> None:
    assert desk.refused(signed(desk.claims(**{claim: float(number)}))) == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["", "x", ".", "..", "a.b.c", "ä.ö.ü", "\0", "x" * 100_000, "[].{}.", "bnVsbA.e30."])
def test_what_is_no_token_is_refused(desk: Desk, token: str) -> None:
    assert desk.refused(token) == "TOKEN_INVALID"


def test_a_header_that_is_no_object_is_refused(desk: Desk) -> None:
    body = encoded(desk.claims())
    heads: tuple[object, ...] = ([], None, "EdDSA", 1, {"alg": ["EdDSA"], "kid": "k1"}, {"alg": "EdDSA", "kid": ["k1"]})
    for head in heads:
        assert desk.refused(f"{encoded(head)}.{body}.c2ln") == "TOKEN_INVALID"


def test_several_keys_may_be_in_force(desk: Desk) -> None:
    verifier = TokenVerifier({"k1": KEY.public_key(), "k2": OTHER.public_key()}, desk.clock, desk.revocations)
    assert verifier.verify(signed(desk.claims())).user_id == "u1"
    assert verifier.verify(signed(desk.claims(), OTHER, "k2")).user_id == "u1"
    with pytest.raises(Refusal):
        verifier.verify(signed(desk.claims(), OTHER, "k1"))


def test_a_revoked_devices_tokens_from_before_are_refused_and_those_from_after_it_came_back_are_not(desk: Desk) -> None:
    before, at_once, after = (desk.issuer.issue("u1", "v1", epoch)[0] for epoch in (1, 2, 3))
    another, _ = desk.issuer.issue("u1", "v2", 1)
    desk.revocations.add({"v1": 2})
    assert desk.refused(before) == "DEVICE_REVOKED"
    assert desk.refused(at_once) == "DEVICE_REVOKED"
    assert desk.verifier.verify(another).device_id == "v2"
    assert desk.verifier.verify(after).device_id == "v1"
    # Heard of late, or again.
    desk.revocations.add({"v1": 1})
    assert desk.refused(at_once) == "DEVICE_REVOKED"


def test_a_token_from_before_epochs_is_of_the_lowest(desk: Desk) -> None:
    token = signed(desk.claims())
    assert desk.verifier.verify(token).epoch == 0
    desk.revocations.add({"v1": 0})
    assert desk.refused(token) == "DEVICE_REVOKED"


@pytest.mark.parametrize("seconds", [-600.0, -2.0, 600.0, 3000.0])
def test_a_clock_that_is_set_keeps_nobody_out_and_lets_nobody_in(desk: Desk, seconds: float) -> None:
    out, _ = desk.issuer.issue("u1", "out", 1)
    desk.revocations.add({"out": 1})
    desk.clock.set_by(seconds)
    assert desk.refused(out) == ("DEVICE_REVOKED" if seconds < 900 else "TOKEN_EXPIRED")
    back, _ = desk.issuer.issue("u1", "out", 2)
    never, _ = desk.issuer.issue("u1", "never out", 1)
    assert desk.verifier.verify(back).good_until == desk.clock.monotonic() + 900
    assert desk.verifier.verify(never).good_until == desk.clock.monotonic() + 900


def test_a_token_from_a_clock_far_ahead_does_not_outlive_the_memory_of_a_sign_out(desk: Desk) -> None:
    desk.clock.set_by(400 * 86400)
    token, _ = desk.issuer.issue("u1", "v1", 1)
    desk.clock.advance(2)
    desk.verifier.verify(token)
    desk.clock.set_by(-400 * 86400)
    assert desk.refused(token) == "TOKEN_EXPIRED"


def test_a_token_is_good_for_its_lifetime_at_most_on_an_open_stream(desk: Desk) -> None:
    token, _ = desk.issuer.issue("u1", "v1", 1)
    desk.clock.set_by(-600)
    assert desk.verifier.verify(token).good_until == desk.clock.monotonic() + 900


def test_a_sign_out_is_forgotten_once_no_token_can_be_left_however_the_clock_is_set(desk: Desk) -> None:
    desk.revocations.add({"v1": 1})
    desk.clock.set_by(400 * 86400)
    desk.clock.advance(desk.revocations.kept - 1)
    desk.revocations.add({"v2": 7})
    assert desk.revocations.forget() == {}
    assert desk.revocations.covers("v1", 1)
    desk.clock.set_by(-800 * 86400)
    desk.clock.advance(1)
    assert desk.revocations.forget() == {"v1": 1}
    assert not desk.revocations.covers("v1", 1)
    assert desk.revocations.covers("v2", 7)


class Devices(RuleBasedStateMachine):
    """Devices sign out and come back under a clock that is set: who is in is let in, and who is out is not."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.epochs = dict.fromkeys("abc", 0)
        self.is_in = dict.fromkeys("abc", False)
        # The epochs in which they were signed out last.
        self.signed_out = dict.fromkeys("abc", 0)
        # With the monotonic second at which each was issued.
        self.tokens: list[tuple[str, int, str, float]] = []

    @rule(device=st.sampled_from("abc"))
    def sign_in_or_refresh(self, device: str) -> None:
        self.epochs[device] += 1
        self.is_in[device] = True
        epoch = self.epochs[device]
        token, _ = self.desk.issuer.issue("u1", device, epoch)
        self.tokens.append((device, epoch, token, self.desk.clock.monotonic()))
        assert self.desk.verifier.verify(token).epoch == epoch

    @rule(device=st.sampled_from("abc"))
    def sign_out(self, device: str) -> None:
        self.is_in[device] = False
        self.signed_out[device] = self.epochs[device]
        self.desk.revocations.add({device: self.epochs[device]})

    @rule(seconds=st.integers(0, 4000))
    def time_passes(self, seconds: int) -> None:
        self.desk.clock.advance(seconds)
        self.desk.revocations.forget()

    # Within the hour that clocks may differ by, to and fro.
    @rule(seconds=st.integers(1, 3600))
    def the_clock_is_set_back_and_later_right_again(self, seconds: int) -> None:
        self.desk.clock.set_by(-seconds)
        self.nobody_is_let_in_who_is_out()
        self.desk.clock.set_by(seconds)

    @rule()
    def the_clock_is_far_ahead_for_two_seconds(self) -> None:
        self.desk.clock.set_by(400 * 86400)
        self.desk.clock.advance(2)
        self.desk.revocations.forget()
        self.desk.clock.set_by(-400 * 86400)

    @invariant()
    def nobody_is_let_in_who_is_out(self) -> None:
        for device, epoch, token, _ in self.tokens:
            try:
                self.desk.verifier.verify(token)
            except Refusal:
                continue
            assert epoch > self.signed_out[device]

    @invariant()
    def who_is_in_is_let_in_until_the_token_runs_out(self) -> None:
        for device, epoch, token, issued in self.tokens:
            if self.is_in[device] and epoch == self.epochs[device] and self.desk.clock.monotonic() < issued + 900:
                assert self.desk.verifier.verify(token).device_id == device


TestDevices = Devices.TestCase
TestDevices.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
