from __future__ import annotations

import pytest

from tests.conformance.engines import Ports
from tidings.core.ports import PushTokenStore
from tidings.core.values import PushPreview, PushProvider, PushToken


@pytest.fixture
def tokens(ports: Ports) -> PushTokenStore:
    return ports.push_tokens


async def test_a_device_has_one_token_the_latest(tokens: PushTokenStore) -> None:
    await tokens.set(PushToken("v1", "u1", PushProvider.FCM, "first"))
    latest = PushToken("v1", "u1", PushProvider.LOG, "second")
    await tokens.set(latest)
    assert await tokens.of_device("v1") == latest
    assert list(await tokens.of_users(["u1"])) == [latest]


async def test_the_tokens_of_some_users_are_those_of_all_their_devices(tokens: PushTokenStore) -> None:
    kept = [
        PushToken("v1", "u1", PushProvider.FCM, "a"),
        PushToken("v2", "u1", PushProvider.APNS, "b"),
        PushToken("v3", "u2", PushProvider.WEB_PUSH, '{"endpoint": "https://push.example/é"}'),
        PushToken("v4", "u3", PushProvider.LOG, "d"),
    ]
    for token in kept:
        await tokens.set(token)
    found = await tokens.of_users(["u1", "u2", "nobody"])
    assert sorted(found, key=lambda each: each.device_id) == kept[:3]
    assert list(await tokens.of_users([])) == []


async def test_many_users_are_looked_up_at_once(tokens: PushTokenStore) -> None:
    for number in range(3):
        await tokens.set(PushToken(f"v{number}", f"u{number}", PushProvider.LOG, "t"))
    assert len(await tokens.of_users([f"u{number}" for number in range(2_000)])) == 3


async def test_a_removed_token_is_gone(tokens: PushTokenStore) -> None:
    await tokens.set(PushToken("v1", "u1", PushProvider.FCM, "a"))
    await tokens.remove("v1")
    assert await tokens.of_device("v1") is None
    assert list(await tokens.of_users(["u1"])) == []
    await tokens.remove("v1")


async def test_a_token_reported_gone_is_removed_only_if_the_device_has_it_still(tokens: PushTokenStore) -> None:
    await tokens.set(PushToken("v1", "u1", PushProvider.FCM, "new"))
    await tokens.remove("v1", "old")
    assert await tokens.of_device("v1") == PushToken("v1", "u1", PushProvider.FCM, "new")
    await tokens.remove("v1", "new")
    assert await tokens.of_device("v1") is None


async def test_what_a_device_wants_to_show_is_kept_and_can_be_changed_alone(tokens: PushTokenStore) -> None:
    for preview in (PushPreview.NONE, PushPreview.SENDER, PushPreview.FULL):
        token = PushToken("v1", "u1", PushProvider.FCM, "a", preview)
        await tokens.set(token)
        assert await tokens.of_device("v1") == token
        assert list(await tokens.of_users(["u1"])) == [token]
