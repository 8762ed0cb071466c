"""Searches in SQLite: users that an earlier version wrote, and what a search reads."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.database import Database


async def _made_before(folder: Path, names: dict[str, str]) -> Database:
    """Opens a database that was made before there were search keys, with some users."""
    with closing(sqlite3.connect(folder / "tidings.db", isolation_level=None)) as connection:
        scripts = files("tidings.backends.sqlite") / "migrations"
        before = sorted(each.name for each in scripts.iterdir() if each.name.endswith(".sql"))
        before = before[: before.index("0007_search_keys.sql")]
        for name in before:
            connection.executescript((scripts / name).read_text())
        connection.execute(f"PRAGMA user_version = {int(before[-1][:4])}")
        connection.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, '', 'hash', 1)",
            [(f"u-{username}", username, shown, shown.lower()) for username, shown in names.items()],
        )
    return Database(folder)


async def test_users_from_before_are_found_without_their_accents(tmp_path: Path) -> None:
    database = await _made_before(tmp_path, {"bob": "Élodie", "zoe": "Bob's friend", "cas": "Nguyễn Thị Minh Khai"})
    store = SqliteAccountStore(database)
    for prefix, usernames in {
        "elo": ["bob"],
        "bob": ["bob", "zoe"],
        "nguyen thi minh k": ["cas"],
        "nguyen thi minh x": [],
        "cas": ["cas"],
    }.items():
        assert [each.username for each in await store.search(prefix, "", 10, "u-x")] == usernames
    await store.update_profile("u-bob", "Anna", None)
    assert await store.search("elo", "", 10, "u-x") == []
    assert [each.username for each in await store.search("bob", "", 10, "u-x")] == ["bob", "zoe"]
    await database.close()


async def test_a_search_costs_the_same_with_ten_thousand_who_share_the_beginning(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The steps of one connection are counted, so there is no other.
    monkeypatch.setattr("tidings.backends.sqlite.database._READERS", 1)

    async def steps(folder: Path, number: int) -> int:
        database = await _made_before(folder, {f"x{each:05}": f"Ánna {each}" for each in range(number)})
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        def watched(connection: sqlite3.Connection) -> None:
            connection.set_progress_handler(count, 1)

        await database.read(watched)
        for prefix in ("a", "anna", "anna 1"):
            found = await SqliteAccountStore(database).search(prefix, "", 5, "u-x")
            assert len(found) == 5
        await database.close()
        return counted

    few = await steps(tmp_path, 20)
    many = await steps(tmp_path_factory.mktemp("many"), 10_000)
    assert 0 < many <= 2 * few
