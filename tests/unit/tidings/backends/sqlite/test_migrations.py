"""Databases that earlier versions of tidings made."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.core.ports import PageRequest
from tidings.core.search_keys import search_key
from tidings.core.values import Appended, ChannelKind, EntryKind, LogBatch, MembershipChange, Role, SeqRange


def made_by_schema(folder: Path, version: int) -> sqlite3.Connection:
    """A database as the version of tidings with this schema made it."""
    connection = sqlite3.connect(folder / "tidings.db", isolation_level=None)
    connection.create_function("search_key", 1, search_key, deterministic=True)
    for each in sorted((files("tidings.backends.sqlite") / "migrations").iterdir(), key=lambda file: file.name):
        if each.name.endswith(".sql") and int(each.name[:4]) <= version:
            connection.executescript(each.read_text())
    connection.execute(f"PRAGMA user_version = {version}")
    return connection


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, object]]) -> None:
    for row in rows:
        columns = ", ".join(row)
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", [*row.values()])


async def test_what_was_deleted_before_there_was_a_mark_for_it_is_not_unread(tmp_path: Path) -> None:
    with closing(made_by_schema(tmp_path, 5)) as connection:
        insert(
            connection,
            "channels",
            [{"channel_id": "ga", "kind": ChannelKind.GROUP, "title": "t", "created_at_ms": 1}],
        )
        insert(
            connection,
            "memberships",
            [
                {
                    "channel_id": "ga",
                    "user_id": user_id,
                    "since_seq": 1,
                    "until_seq": 0,
                    "role": Role.MEMBER,
                    "joined_at_ms": 1,
                }
                for user_id in ("ann", "ben")
            ],
        )
        kinds = {
            1: (EntryKind.MEMBERSHIP, 0),
            2: (EntryKind.MESSAGE, 0),
            3: (EntryKind.MESSAGE, 0),
            4: (EntryKind.EDIT, 2),
            5: (EntryKind.EDIT, 3),
            6: (EntryKind.DELETION, 2),
        }
        insert(
            connection,
            "entries",
            [
                {
                    "channel_id": "ga",
                    "seq": seq,
                    "position": seq,
                    "kind": kind,
                    "author_id": "ben",
                    "client_message_id": "",
                    "target_seq": target_seq,
                    "body": b"text",
                }
                for seq, (kind, target_seq) in kinds.items()
            ],
        )
    database = Database(tmp_path)
    view = await SqliteMemberships(database).channel_of("ann", "ga")
    assert view is not None and view.unread_count == 1
    changes = await SqliteChannelLog(database).message_with_changes("ga", {2, 3})
    assert {seq: [each.seq for each in entries] for seq, entries in changes.items()} == {2: [2, 6], 3: [3, 5]}
    page = await SqliteHistory(database).messages("ga", [SeqRange(1)], PageRequest())
    assert [(row.message.seq, row.latest_change and row.latest_change.seq) for row in page] == [(2, 6), (3, 5)]
    await database.close()


async def test_relations_are_counted_that_were_there_before(tmp_path: Path) -> None:
    with closing(made_by_schema(tmp_path, 5)) as connection:
        insert(
            connection,
            "contacts",
            [{"user_id": "u-ann", "contact_id": each, "added_at_ms": 1} for each in ("u-ben", "u-cas")],
        )
        insert(connection, "blocks", [{"user_id": "u-ben", "blocked_id": "u-cas", "blocked_at_ms": 1}])
    database = Database(tmp_path)
    contacts = SqliteContactStore(database)
    assert [await contacts.contact_count(each, "u-ben") for each in ("u-ann", "u-ben")] == [1, 0]
    assert [await contacts.blocked_count(each, "") for each in ("u-ann", "u-ben")] == [0, 1]
    await contacts.remove("u-ann", "u-cas")
    assert await contacts.contact_count("u-ann", "") == 1
    await database.close()


async def test_channels_from_before_they_were_counted_are_counted(tmp_path: Path) -> None:
    stays = [
        ("ga", "ann", 1, 0, Role.OWNER),
        ("gb", "ann", 1, 0, Role.ADMIN),
        ("gc", "ann", 1, 7, Role.OWNER),
        ("ga", "ben", 1, 3, Role.MEMBER),
        ("ga", "ben", 5, 0, Role.MEMBER),
        ("gc", "cas", 1, 9, Role.MEMBER),
    ]
    columns = ("channel_id", "user_id", "since_seq", "until_seq", "role")
    with closing(made_by_schema(tmp_path, 9)) as connection:
        insert(
            connection,
            "memberships",
            [{**dict(zip(columns, stay, strict=True)), "joined_at_ms": 1, "active": 9} for stay in stays],
        )
    database = Database(tmp_path)
    memberships, log = SqliteMemberships(database), SqliteChannelLog(database)
    assert await memberships.channel_counts(["ann", "ben", "cas"]) == {"ann": 2, "ben": 1, "cas": 0}
    assert [await memberships.owned_count(each) for each in ("ann", "ben", "cas")] == [1, 0, 0]
    # And from then on.
    changes = (MembershipChange("ann", Role.OWNER, 1, 1, 8), MembershipChange("ben", Role.OWNER, 5, 1))
    assert await log.append(LogBatch("ga", (), members=changes)) == Appended()
    assert await memberships.channel_counts(["ann", "ben"]) == {"ann": 1, "ben": 1}
    assert [await memberships.owned_count(each) for each in ("ann", "ben")] == [0, 1]
    await database.close()
