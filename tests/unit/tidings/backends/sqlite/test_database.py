"""The database's transactions: who is in which."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

import tidings.backends.sqlite.database as database_module
from tidings.backends.sqlite.database import Database


async def test_ready_is_between_two_transactions(tmp_path: Path) -> None:
    database = Database(tmp_path)
    told: list[str] = []
    begun = asyncio.Event()

    async def write() -> None:
        await database.write(lambda _: begun.set())
        told.append("written")

    async def write_when_ready() -> None:
        await database.ready()
        told.append("ready")
        await database.write(_number)
        told.append("written when ready")

    await database.ready()
    first = asyncio.create_task(write())
    await begun.wait()
    others = [asyncio.create_task(write_when_ready()) for _ in range(3)]
    await asyncio.gather(first, *others)
    # Ready only once the transaction under way is over, and then all in the next one.
    assert told == ["written", *["ready"] * 3, *["written when ready"] * 3]
    await database.close()


async def test_ready_also_after_a_transaction_that_failed(tmp_path: Path) -> None:
    database = Database(tmp_path)
    begun = asyncio.Event()

    def fails(_: sqlite3.Connection) -> None:
        begun.set()
        raise ValueError

    failing = asyncio.create_task(database.write(fails))
    await begun.wait()
    await database.ready()
    assert await database.write(_number) == 1
    await asyncio.gather(failing, return_exceptions=True)
    await database.close()


async def test_transactions_that_follow_one_another_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Much longer than the moments between the writes below, however busy the machine is.
    monkeypatch.setattr(database_module, "_APART_SECONDS", 0.5)
    database = Database(tmp_path)
    statements: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(statements.append))
    late = []
    for _ in range(3):
        late.append(asyncio.create_task(database.write(_number)))
        await asyncio.sleep(0)
    assert await asyncio.gather(*late) == [1, 1, 1]
    assert sum(each.startswith("BEGIN") for each in statements) == 1
    await database.close()


def _number(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT 1").fetchone()
    assert isinstance(found, int)
    return found
