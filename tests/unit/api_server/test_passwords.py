"""Hashes of passwords."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from api_server.passwords import PasswordCost, Passwords
from tests.support.accounts import CHEAP
from tidings.core.errors import Code, Refusal


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    await made.close()


async def test_a_password_matches_its_hash_only(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert await passwords.verify(kept, "correct horse")
    assert not await passwords.verify(kept, "correct horsf")
    assert not await passwords.verify(kept, "")
    assert kept != await passwords.hash("correct horse")


async def test_a_character_typed_in_either_way_is_the_same(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


async def test_the_defaults_are_argon2id_at_owasps_minimum() -> None:
    passwords = Passwords()
    cost = extract_parameters(await passwords.hash("correct horse"))
    assert (cost.type, cost.memory_cost, cost.time_cost, cost.parallelism) == (Type.ID, 19 * 1024, 2, 1)
    await passwords.close()


async def test_a_hash_at_another_cost_is_outdated(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert not passwords.is_outdated(kept)
    for cost in (PasswordCost(16, 1), PasswordCost(8, 2), PasswordCost(16, 1, 2)):
        other = Passwords(cost)
        assert other.is_outdated(kept)
        assert await other.verify(kept, "correct horse")
        await other.close()


async def test_checking_for_nobody_does_the_same_work(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return verify(self, password_hash, password)

    kept = await passwords.hash("correct horse")
    monkeypatch.setattr(PasswordHasher, "verify", watched)
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify(kept, "wrong horse")
    nobody, somebody = map(extract_parameters, checked)
    assert nobody == somebody


async def test_hashes_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP, threads=2, most_waiting=3)
    go_on = threading.Event()
    at_work = threading.Semaphore(0)
    running: list[int] = []
    most: list[int] = []
    verify = PasswordHasher.verify

    def slow(self: PasswordHasher, password_hash: str, password: str) -> bool:
        running.append(1)
        most.append(len(running))
        at_work.release()
        go_on.wait(10)
        running.pop()
        return verify(self, password_hash, password)

    kept = await passwords.hash("correct horse")
    monkeypatch.setattr(PasswordHasher, "verify", slow)
    calls = [asyncio.ensure_future(passwords.verify(kept, "correct horse")) for _ in range(3)]
    for _ in range(2):
        await asyncio.to_thread(at_work.acquire)
    with pytest.raises(Refusal) as refused:
        await passwords.verify(kept, "correct horse")
    assert (refused.value.code, refused.value.reason) == (Code.UNAVAILABLE, "TOO_MANY_SIGN_INS")
    assert refused.value.retry_after is not None
    go_on.set()
    assert await asyncio.gather(*calls) == [True, True, True]
    assert max(most) == 2
    assert await passwords.verify(kept, "correct horse")
    await passwords.close()
