"""The database's transactions: who is in which, and what becomes of them while somebody else holds the lock."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import tidings.backends.sqlite.database as database_module
from tidings.backends.sqlite.database import Database
from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason


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


# --- the write lock in other hands ------------------------------------------------------------------------------------


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path)
    await database.write(lambda connection: connection.execute("CREATE TABLE t (x)"))
    yield database
    await database.close()


@pytest.fixture
def other(database: Database, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else, such as an operator."""
    connection = sqlite3.connect(tmp_path / "tidings.db", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_writes_wait_for_the_lock_in_order_and_reads_go_on(
    database: Database, other: sqlite3.Connection, begin: str
) -> None:
    other.execute(begin)
    writes = []
    for number in range(3):
        writes.append(asyncio.create_task(database.write(_insert(number))))
        # Never before the event loop has gone round several times, as it would not with a write that sleeps.
        assert await database.read(_numbers) == []
        await asyncio.sleep(0.03)
    assert not any(write.done() for write in writes)
    other.execute("ROLLBACK")
    await asyncio.gather(*writes)
    assert await database.read(_numbers) == [0, 1, 2]


async def test_a_write_is_refused_once_it_has_waited_too_long_itself(
    database: Database, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LOCKED_SECONDS", 1.0)
    loop = asyncio.get_running_loop()
    other.execute("BEGIN IMMEDIATE")
    first, began = asyncio.create_task(database.write(_insert(1))), loop.time()
    await asyncio.sleep(0.5)
    second = asyncio.create_task(database.write(_insert(2)))
    with pytest.raises(Refusal) as refused:
        await first
    assert loop.time() - began >= 1.0
    assert (refused.value.code, refused.value.reason) == (Code.UNAVAILABLE, Reason.STORAGE_UNAVAILABLE)
    assert refused.value.retry_after
    assert not second.done()
    other.execute("ROLLBACK")
    await second
    # What was refused has not been written.
    assert await database.read(_numbers) == [2]


async def test_a_lock_that_is_held_for_long_is_said_once(
    database: Database,
    other: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database_module, "_LOCKED_SECONDS", 0.0)
    other.execute("BEGIN IMMEDIATE")
    for number in range(3):
        with pytest.raises(Refusal):
            await database.write(_insert(number))
    other.execute("ROLLBACK")
    await database.write(_insert(4))
    assert [record.getMessage() for record in caplog.records] == [
        "no transaction can begin, so writes wait and are then refused: database is locked",
        "transactions begin again",
    ]


def _insert(number: int) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (number,))


def _numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT x FROM t ORDER BY rowid")]
