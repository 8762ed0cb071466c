"""Registering push tokens: what is refused, and what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server.push_tokens import PushTokens
from tests.support.providers.web_push import Browser
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_tokens import SqlitePushTokenStore
from tidings.core.errors import Code, Refusal
from tidings.core.ports import PushTokenStore
from tidings.core.values import Identity, PushPreview, PushProvider, PushToken

CALLER = Identity("ann", "v1", 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PushTokenStore]:
    database = Database(tmp_path)
    yield SqlitePushTokenStore(database)
    await database.close()


async def _tokens(store: PushTokenStore) -> list[PushToken]:
    return list(await store.of_users(["ann"]))


async def test_a_device_has_its_latest_token_until_it_is_forgotten(store: PushTokenStore) -> None:
    tokens = PushTokens(store)
    await tokens.register(CALLER, 1, "old")
    await tokens.register(CALLER, 4, "x" * 4096)
    assert await _tokens(store) == [PushToken("v1", "ann", PushProvider.LOG, "x" * 4096)]
    for _ in range(2):
        await tokens.unregister(CALLER)
        assert await _tokens(store) == []


@pytest.mark.parametrize(
    ("provider", "token", "field", "metadata"),
    [
        (0, "token", "provider", {"actual": "0"}),
        (5, "token", "provider", {"actual": "5"}),
        (1, "", "token", {"limit": "1", "actual": "0"}),
        (1, "x" * 4097, "token", {"limit": "4096", "actual": "4097"}),
        (3, "not a subscription", "token", {}),
    ],
)
async def test_what_is_refused(
    store: PushTokenStore, provider: int, token: str, field: str, metadata: dict[str, str]
) -> None:
    with pytest.raises(Refusal) as caught:
        await PushTokens(store).register(CALLER, provider, token)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [each.field for each in caught.value.violations] == [field]
    assert caught.value.metadata == metadata
    assert await _tokens(store) == []


async def test_a_device_may_ask_for_less_to_be_shown(store: PushTokenStore) -> None:
    await PushTokens(store).register(CALLER, 1, "token", 1)
    assert await _tokens(store) == [PushToken("v1", "ann", PushProvider.FCM, "token", PushPreview.NONE)]
    with pytest.raises(Refusal) as caught:
        await PushTokens(store).register(CALLER, 1, "token", 4)
    assert [each.field for each in caught.value.violations] == ["preview"]


async def test_a_subscription_of_a_browser_is_kept_as_it_is(store: PushTokenStore) -> None:
    subscription = Browser().subscription("https://push.example.net/x")
    await PushTokens(store).register(CALLER, 3, subscription)
    assert await _tokens(store) == [PushToken("v1", "ann", PushProvider.WEB_PUSH, subscription)]
