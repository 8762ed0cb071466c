"""What is read often finds its rows by an index, whatever SQLite knows of the tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.conformance.scribe import Scribe, Ticker
from tests.support.clock import FakeClock
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.history import SqliteHistory
from tidings.backends.sqlite.inbox import SqliteInbox
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.core.ports import PageRequest
from tidings.core.values import Marks, SeqRange

FOREVER = (1 << 63) - 1
# A table of one row, and what a statement itself has found.
SMALL = ("SCAN high_water", "SCAN CONSTANT ROW", "SCAN (subquery-1)")


class TracedDatabase(Database):
    """Notes the statements that are executed."""

    def __init__(self, folder: Path) -> None:
        self.statements: set[str] = set()
        super().__init__(folder)

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self.statements.add)
        return connection


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_table_is_read_from_end_to_end(tmp_path: Path, analyzed: bool) -> None:
    database = TracedDatabase(tmp_path)
    log, inbox = SqliteChannelLog(database), SqliteInbox(database)
    scribe = Scribe(log, Ticker(FakeClock()), "ga")
    await scribe.create("ann", "ben", "cas")
    if analyzed:
        await database.write(lambda connection: connection.execute("ANALYZE"))
    database.statements.clear()

    message = await scribe.send("ann", name="one")
    await scribe.edit(message)
    await scribe.remove("cas")
    await log.message_with_changes("ga", [message.seq])
    await scribe.delete(message)
    await log.entries_at("ga", [1, 2])
    await log.save_marks("ga", 1, {"ben": Marks(1, 1)})
    await log.load("ga")
    history = SqliteHistory(database)
    await history.visible("ga", "cas")
    for page in (PageRequest(), PageRequest(before_seq=3), PageRequest(after_seq=0)):
        await history.entries("ga", [SeqRange(1)], page)
        await history.messages("ga", [SeqRange(1, 3), SeqRange(4)], page)
    memberships = SqliteMemberships(database)
    await memberships.channels_of("ben", None, 10)
    await memberships.channels_of("ben", (FOREVER, "z"), 10)
    await memberships.muted_by("ga", ["ben"])
    assert [event async for chunk in (await inbox.replay("cas", 0, FOREVER)).chunks() for event in chunk.events]
    await inbox.receipts_since("ben", 0)
    await SqliteAccountStore(database).search("zoe", "b", 10, "ann")
    contacts = SqliteContactStore(database)
    await contacts.add("ann", "ben", 1)
    await contacts.block("ann", "cas", 1)
    await contacts.contact_count("ann", "ben")
    await contacts.blocked_count("ann", "ben")
    await contacts.contacts("ann")
    await contacts.watchers("ann")
    await contacts.blocked("ann")

    read = {each for each in database.statements if each.split()[0] in ("SELECT", "UPDATE", "DELETE", "WITH")}
    assert len(read) > 20

    def plans(connection: sqlite3.Connection) -> list[tuple[str, str]]:
        return [(row[3], each) for each in read for row in connection.execute(f"EXPLAIN QUERY PLAN {each}")]

    scans = [(step, each) for step, each in await database.read(plans) if step.startswith("SCAN") and step not in SMALL]
    assert not scans
    await database.close()
