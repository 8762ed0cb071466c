"""Rows of Cassandra that earlier versions of tidings wrote."""

from __future__ import annotations

import pytest

from tests.conformance.engines import CassandraEngine
from tests.conformance.scribe import Scribe, Ticker
from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient, Statement
from tidings.backends.cassandra.contacts import CassandraContactStore
from tidings.backends.cassandra.log import CassandraChannelLog
from tidings.backends.cassandra.memberships import CassandraMemberships
from tidings.backends.cassandra.pending_push import CassandraPendingPush
from tidings.core.clock import SystemClock

pytestmark = pytest.mark.parametrize("engine", ["cassandra"], indirect=True, scope="session")

# What the versions before migration 7 did not write, or wrote otherwise.
UNMARKED = Statement("UPDATE log SET live = null WHERE channel_id = ? AND bucket = ? AND seq IN ?")
UNKNOWN = Statement("UPDATE changes SET kept = null WHERE channel_id = ? AND bucket = ? AND target_seq = ? AND seq = ?")
NOT_DONE = Statement("DELETE FROM migrations WHERE number = 7")


async def test_deleted_messages_are_not_unread_and_edits_have_their_texts(engine: CassandraEngine) -> None:
    clock = SystemClock()
    before = await CassandraClient.open(engine.settings)
    accounts = CassandraAccountStore(before, clock)
    contacts = CassandraContactStore(before, accounts, clock)
    log = CassandraChannelLog(before, contacts, CassandraPendingPush(before), clock)
    scribe = Scribe(log, Ticker(), "gbackfill")
    await scribe.create("ann", "ben")
    messages = [await scribe.send("ben") for _ in range(3)]
    edits = [await scribe.edit(messages[2]) for _ in range(2)]
    for message in messages[:2]:
        await scribe.delete(message)
    await before.execute(UNMARKED, ("gbackfill", 0, [each.seq for each in scribe.entries]))
    for edit in edits:
        await before.execute(UNKNOWN, ("gbackfill", 0, messages[2].seq, edit.seq))
    await before.execute(NOT_DONE)
    await before.close()

    after = await CassandraClient.open(engine.settings)
    accounts = CassandraAccountStore(after, clock)
    contacts = CassandraContactStore(after, accounts, clock)
    view = await CassandraMemberships(after, contacts).channel_of("ann", "gbackfill")
    assert view is not None and view.unread_count == 1
    log = CassandraChannelLog(after, contacts, CassandraPendingPush(after), clock)
    (found,) = (await log.message_with_changes("gbackfill", [messages[2].seq])).values()
    assert found == [messages[2], *edits]
    await after.close()
