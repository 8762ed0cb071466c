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

HERE = "192.0.2.1"


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    await made.close()


async def test_a_password_matches_its_hash_only(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse", HERE)
    assert await passwords.verify(kept, "correct horse", HERE)
    assert not await passwords.verify(kept, "correct horsf", HERE)
    assert not await passwords.verify(kept, "", HERE)
    assert kept != await passwords.hash("correct horse", HERE)


async def test_a_character_typed_in_either_way_is_the_same(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("caf\u00e9 au lait", HERE), "cafe\u0301 au lait", HERE)


async def test_the_defaults_are_argon2id_at_owasps_minimum() -> None:
    passwords = Passwords()
    cost = extract_parameters(await passwords.hash("correct horse", HERE))
    assert (cost.type, cost.memory_cost, cost.time_cost, cost.parallelism) == (Type.ID, 19 * 1024, 2, 1)
    await passwords.close()


async def test_a_hash_at_another_cost_is_outdated(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse", HERE)
    assert not passwords.is_outdated(kept)
    for cost in (PasswordCost(16, 1), PasswordCost(8, 2), PasswordCost(16, 1, 2)):
        other = Passwords(cost)
        assert other.is_outdated(kept)
        assert await other.verify(kept, "correct horse", HERE)
        await other.close()


async def test_checking_for_nobody_does_the_same_work(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return verify(self, password_hash, password)

    kept = await passwords.hash("correct horse", HERE)
    monkeypatch.setattr(PasswordHasher, "verify", watched)
    assert not await passwords.verify(None, "correct horse", HERE)
    assert not await passwords.verify(kept, "wrong horse", HERE)
    nobody, somebody = map(extract_parameters, checked)
    assert nobody == somebody


async def test_hashes_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP, threads=2, most_waiting=1)
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

    kept = await passwords.hash("correct horse", HERE)
    monkeypatch.setattr(PasswordHasher, "verify", slow)
    calls = [asyncio.ensure_future(passwords.verify(kept, "correct horse", HERE)) for _ in range(3)]
    for _ in range(2):
        await asyncio.to_thread(at_work.acquire)
    with pytest.raises(Refusal) as refused:
        await passwords.verify(kept, "correct horse", HERE)
    assert (refused.value.code, refused.value.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_SIGN_INS")
    assert refused.value.retry_after is not None
    go_on.set()
    assert await asyncio.gather(*calls) == [True, True, True]
    assert max(most) == 2
    assert await passwords.verify(kept, "correct horse", HERE)
    await passwords.close()


async def test_a_flood_from_one_address_keeps_another_waiting_for_one_hash() -> None:
    passwords = Passwords(CHEAP, threads=1, most_of_address=100)
    kept = await passwords.hash("correct horse", HERE)
    done: list[str] = []

    async def check(address: str) -> None:
        await passwords.verify(kept, "wrong horse", address)
        done.append(address)

    flood = [asyncio.create_task(check(HERE)) for _ in range(101)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await passwords.verify(kept, "wrong horse", HERE)
    assert refused.value.reason == "TOO_MANY_SIGN_INS"
    await check("198.51.100.1")
    assert len(done) <= 3
    for each in flood:
        each.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    # Nobody who has hung up is waited for.
    assert await passwords.verify(kept, "correct horse", HERE)
    await passwords.close()


async def test_whoever_has_had_no_turn_in_time_is_refused_and_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP, threads=1, most_of_address=3, longest_wait=0.01)
    go_on = threading.Event()
    verify = PasswordHasher.verify

    def slow(self: PasswordHasher, password_hash: str, password: str) -> bool:
        go_on.wait(10)
        return verify(self, password_hash, password)

    kept = await passwords.hash("correct horse", HERE)
    monkeypatch.setattr(PasswordHasher, "verify", slow)
    at_work = asyncio.ensure_future(passwords.verify(kept, "correct horse", HERE))
    await asyncio.sleep(0)
    # More, one after the other, than may wait at once: each is refused for its own wait.
    for _ in range(5):
        with pytest.raises(Refusal) as refused:
            await passwords.verify(kept, "correct horse", HERE)
        assert (refused.value.code, refused.value.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_SIGN_INS")
        assert refused.value.retry_after is not None
        assert isinstance(refused.value.__cause__, TimeoutError)
        assert not at_work.done()
    go_on.set()
    # The one whose hash was under way is answered, and so is the next.
    assert await at_work
    assert await passwords.verify(kept, "correct horse", HERE)
    await passwords.close()
