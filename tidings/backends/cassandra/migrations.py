"""The keyspace and its tables, brought up to date by one process at a time.

`migrations/NNNN_name.cql` are done in order of number, each once. Cassandra has no transactions for tables. A process
that ends in the middle leaves a migration done in part, and the next process does all of it again. So every statement
must do no harm when it is done twice (IF NOT EXISTS). Statements end with a semicolon at the end of a line. `_THEN`
has what CQL cannot do.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable, ResultSet, Session

from tidings.backends.cassandra.live_migration import mark_live
from tidings.backends.cassandra.search_key_migration import enter_search_keys

# The holder of the lock renews it before every statement. If it is killed, the others wait this long.
_LOCK_SECONDS = 30
_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.25
_STATEMENT_SECONDS = 60.0
# Cassandra tells of a table a moment before it can be used. A process that did not make the table may run into that.
_HALF_MADE = "Unknown CF"
_HALF_MADE_SECONDS = 10.0

# Without a given id, two processes that make a table at the same time would make two tables of the same name.
_IDS = uuid.UUID("5f3f8d3e-9b1c-4c55-8d07-6f6a6b3b5f10")

_TABLES = (
    "CREATE TABLE IF NOT EXISTS {keyspace}.migrations (number int PRIMARY KEY, done_at timestamp) WITH ID = {id}",
    "CREATE TABLE IF NOT EXISTS {keyspace}.migration_lock (name text PRIMARY KEY, owner text) WITH ID = {id}",
)

# What follows the statements of a migration.
_THEN: Mapping[int, Callable[[Session, Callable[[], None]], None]] = {
    6: enter_search_keys,
    7: mark_live,
}


class CassandraError(Exception):
    """Cassandra cannot be used; the message is one sentence for the operator."""


def migrate(session: Session, keyspace: str, replication: Mapping[str, int]) -> None:
    """Make the keyspace, if it does not exist, and do the migrations that have not been done.

    Args:
        session: A session of the driver; it blocks.
        keyspace: Its name.
        replication: How many nodes keep each row, by data centre; `{"": n}` for a cluster that knows none.

    Raises:
        CassandraError: The tables are of a newer tidings, or another process has held the lock for too long.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", keyspace):
        raise CassandraError(f"{keyspace} is no name for a keyspace: small letters, digits and _, 48 at most")
    scripts = _scripts()
    if not _is_up_to_date(session, keyspace, scripts):
        _run(session, f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {_replication(replication)}")
        for number, table in enumerate(_TABLES):
            _run(session, table.format(keyspace=keyspace, id=uuid.uuid5(_IDS, f"{keyspace} {number}")))
        lock = _Lock(session, keyspace)
        lock.take()
        try:
            _migrate(session, keyspace, scripts, lock)
        finally:
            lock.release()


def _scripts() -> dict[int, Sequence[str]]:
    """Return the statements of each migration, by number."""
    found = {
        int(each.name[:4]): _statements(each.read_text())
        for each in (files("tidings.backends.cassandra") / "migrations").iterdir()
        if each.name.endswith(".cql")
    }
    return dict(sorted(found.items()))


def _statements(script: str) -> Sequence[str]:
    without_comments = re.sub(r"--.*", "", script)
    return [each.strip() for each in re.split(r";\s*(?:\n|$)", without_comments) if each.strip()]


def _is_up_to_date(session: Session, keyspace: str, scripts: Mapping[int, Sequence[str]]) -> bool:
    found = _run(
        session,
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s AND table_name = 'migrations'",
        (keyspace,),
    )
    try:
        return bool(list(found)) and not _missing(session, keyspace, scripts)
    except InvalidRequest:
        # Another process is making that table at this moment.
        return False


def _missing(session: Session, keyspace: str, scripts: Mapping[int, Sequence[str]]) -> Sequence[int]:
    done = {number for (number,) in _run(session, f"SELECT number FROM {keyspace}.migrations")}
    if newer := done - scripts.keys():
        raise CassandraError(f"the keyspace {keyspace} was made by a newer tidings (migration {max(newer)})")
    return [number for number in scripts if number not in done]


def _migrate(session: Session, keyspace: str, scripts: Mapping[int, Sequence[str]], lock: _Lock) -> None:
    # Read under the lock: another process may have done migrations while this one waited for it.
    missing = _missing(session, keyspace, scripts)
    if missing:
        session.set_keyspace(keyspace)
    for number in missing:
        for statement in scripts[number]:
            lock.renew()
            _run(session, statement)
        if number in _THEN:
            _THEN[number](session, lock.renew)
        done = f"INSERT INTO {keyspace}.migrations (number, done_at) VALUES (%s, toTimestamp(now()))"
        _run(session, done, (number,))


class _Lock:
    """A lock among processes: a row with the name of its holder, which expires by itself."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self._session = session
        self._table = f"{keyspace}.migration_lock"
        self._owner = str(uuid.uuid4())

    def take(self) -> None:
        statement = (
            f"INSERT INTO {self._table} (name, owner) VALUES ('migrations', %s) IF NOT EXISTS USING TTL {_LOCK_SECONDS}"
        )
        until = time.monotonic() + _WAIT_SECONDS
        while not self._applied(statement, self._owner):
            if time.monotonic() > until:
                raise CassandraError("another process has been changing the tables of Cassandra for too long")
            time.sleep(_POLL_SECONDS)

    def renew(self) -> None:
        statement = (
            f"UPDATE {self._table} USING TTL {_LOCK_SECONDS} SET owner = %s WHERE name = 'migrations' IF owner = %s"
        )
        if not self._applied(statement, self._owner, self._owner):
            raise CassandraError("another process has begun to change the tables of Cassandra")

    def release(self) -> None:
        self._applied(f"DELETE FROM {self._table} WHERE name = 'migrations' IF owner = %s", self._owner)

    def _applied(self, statement: str, *values: str) -> bool:
        return bool(_run(self._session, statement, values).one()[0])


def _run(session: Session, statement: str, values: Sequence[object] | None = None) -> ResultSet:
    until = time.monotonic() + _HALF_MADE_SECONDS
    while True:
        try:
            return session.execute(statement, values, timeout=_STATEMENT_SECONDS)
        except NoHostAvailable as error:
            half_made = any(_HALF_MADE in str(each) for each in error.errors.values())
            if not half_made or time.monotonic() > until:
                raise
        time.sleep(_POLL_SECONDS)


def _replication(replication: Mapping[str, int]) -> str:
    if set(replication) == {""}:
        return f"{{'class': 'SimpleStrategy', 'replication_factor': {replication['']}}}"
    factors = ", ".join(f"'{datacenter}': {factor}" for datacenter, factor in replication.items())
    return f"{{'class': 'NetworkTopologyStrategy', {factors}}}"
