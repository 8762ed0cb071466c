"""An operator's look into a data folder, beside a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tidings.backends.sqlite.database import Database, DataFolderError
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest


async def test_both_write_and_each_sees_what_the_other_wrote(tmp_path: Path) -> None:
    server, operator = Database(tmp_path), Database(tmp_path, beside=True)
    queues = SqlitePushQueue(server), SqlitePushQueue(operator)
    for number, queue in enumerate(queues):
        request = PushRequest("u1", f"g{number}", 1, "u2", "text", 0)
        await queue.enqueue([DevicePush(request, "v1", PushProvider.LOG)], 0)
    assert [(await queue.depth()).waiting for queue in queues] == [2, 2]
    await operator.close()
    assert (await queues[0].depth()).waiting == 2
    await server.close()


def test_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="there is no database in"):
        Database(tmp_path, beside=True)
    assert list(tmp_path.iterdir()) == []


async def test_there_has_to_be_a_database_of_this_version(tmp_path: Path) -> None:
    await Database(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "tidings.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(DataFolderError, match=r"is of another version of tidings \(schema 1\)"):
        Database(tmp_path, beside=True)
