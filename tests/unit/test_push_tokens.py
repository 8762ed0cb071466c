"""Registering push tokens: what is refused, and what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server.push_tokens import PushTokens
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push import SqlitePushTokenStore
from tidings.core.errors import Code, Refusal
from tidings.core.ports import PushTokenStore
from tidings.core.values import Identity, PushProvider, PushToken

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
