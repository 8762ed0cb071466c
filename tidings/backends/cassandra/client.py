"""The way to Cassandra: a connection shared by all ports of a process, prepared statements, asyncio, refusals.

A port declares its statements beside the code that uses them and executes them with a tuple of values:

    _FIND = Statement("SELECT name FROM people WHERE id = ?")
    _TAKE = Statement("INSERT INTO people (id, name) VALUES (?, ?) IF NOT EXISTS", conditional=True)

    rows = await cassandra.execute(_FIND, (person_id,))
    (applied, *_), *_ = await cassandra.execute(_TAKE, (person_id, name))

A statement is prepared when it is used first. Rows are tuples in the order of the columns selected. `batch` writes
several statements to one partition. The tables are made by `migrations/NNNN_name.cql`; see `migrations.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cassandra import (
    ConsistencyLevel,
    DriverException,
    OperationTimedOut,
    ProtocolVersion,
    RequestExecutionException,
    RequestValidationException,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResponseFuture,
    Session,
)
from cassandra.connection import Connection, ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, tuple_factory

from tidings.backends.cassandra.migrations import CassandraError, migrate
from tidings.backends.cassandra.reactor import connections_on
from tidings.core.errors import Refusal, unavailable
from tidings.core.reasons import Reason

_log = logging.getLogger(__name__)

Row = tuple[Any, ...]

# Cassandra does not answer, or not everyone who had to. Anything else that the driver raises is a mistake of ours.
_AWAY = (NoHostAvailable, OperationTimedOut, RequestExecutionException, ConnectionException, ErrorMessage)

# How long a start is tried again with a Cassandra that is slow.
_START_SECONDS = 30.0
_SERIAL_READS = "serial"
_CONDITIONAL = "conditional"


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """How to reach Cassandra, and what to ask of it."""

    addresses: tuple[str, ...] = ("127.0.0.1:9042",)
    """HOST:PORT of some nodes; the others are found through them. All listen at the same port."""
    keyspace: str = "tidings"
    """Made when it is not there."""
    replication: Mapping[str, int] = field(default_factory=lambda: {"": 1})
    """How many nodes keep each row, by data centre; `{"": n}` for a cluster that knows none (SimpleStrategy)."""
    datacenter: str = ""
    """The data centre of this region, whose nodes are asked; empty to ask all."""
    consistency: str = "QUORUM"
    """Of reads and writes; LOCAL_QUORUM when each region is to go on alone."""
    serial_consistency: str = "SERIAL"
    """Of conditional writes. LOCAL_SERIAL keeps them within a data centre, which is safe only while all chat servers
    are in the same one: two owners in two regions would not see each other."""
    username: str = ""
    password: str = field(default="", repr=False)
    request_seconds: float = 10.0
    """How long an answer may take."""
    in_flight: int = 1024
    """How many requests may be under way; more wait their turn."""


@dataclass(frozen=True, eq=False, slots=True)
class Statement:
    """A statement of CQL, prepared when it is used first.

    Args:
        cql: The statement, with `?` for its values.
        conditional: Whether it is a conditional write (IF …). The driver never sends such a one twice.
        serial: Whether it reads what conditional writes have settled, and settles what is under way.
        fetch_size: How many rows come in one answer; all come in the end.
    """

    cql: str
    conditional: bool = False
    serial: bool = False
    fetch_size: int = 5_000


Write = tuple[Statement, Sequence[object]]
"""A statement that writes, and the values for its `?`."""


class CassandraClient:
    """A connection to a cluster. It belongs to the event loop that opened it."""

    def __init__(self, settings: CassandraSettings, session: Session) -> None:
        """Takes over a session of the driver; see `open`."""
        self.settings = settings
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._prepared: dict[Statement, PreparedStatement] = {}
        self._preparing: dict[Statement, asyncio.Task[PreparedStatement]] = {}
        self._answers: deque[tuple[asyncio.Future[list[Row]], list[Row] | None, BaseException | None]] = deque()
        self._is_woken = False

    @classmethod
    async def open(cls, settings: CassandraSettings) -> Self:
        """Connects, makes the keyspace and brings its tables up to date.

        Raises:
            CassandraError: Nobody answers, or the tables are of a newer tidings.
        """
        return cls(settings, await asyncio.to_thread(_connect, settings, connections_on(asyncio.get_running_loop())))

    async def close(self) -> None:
        """Ends the connection; what is under way fails."""
        await asyncio.to_thread(self._session.cluster.shutdown)

    async def execute(self, statement: Statement, values: Sequence[object] = ()) -> list[Row]:
        """Executes a statement.

        Args:
            statement: Which.
            values: For its `?`, in order.

        Returns:
            The rows; of a conditional write one that begins with whether it was applied.

        Raises:
            Refusal: UNAVAILABLE. A write may have been done all the same, or may be done yet.
        """
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        return await self._send(prepared.bind(values), statement.conditional, statement.serial)

    async def batch(self, statements: Iterable[Write], conditional: bool = False, logged: bool = False) -> list[Row]:
        """Executes writes to one partition, all or none; with a condition in one of them, none unless it holds.

        Writes to several partitions may be done in part.

        Args:
            statements: Which, each with its values.
            conditional: Whether there is a condition.
            logged: Whether they are to several partitions: all are done in the end, or none, at the price of a log.

        Returns:
            As for `execute`.

        Raises:
            Refusal: UNAVAILABLE. They may have been done all the same, or may be done yet.
        """
        batch = BatchStatement(BatchType.LOGGED if logged else BatchType.UNLOGGED)
        for statement, values in statements:
            batch.add(self._prepared.get(statement) or await self._prepare(statement), values)
        batch.is_idempotent = not conditional
        return await self._send(batch, conditional, serial=False)

    async def encode(self, statement: Statement, values: Sequence[object]) -> list[object]:
        """Encodes the values of a statement, for `write_encoded`: rows that have most of them in common share that.

        Returns:
            Bytes for each `?`, or what the driver has for a value that is not set.

        Raises:
            Refusal: UNAVAILABLE.
        """
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        encoded: list[object] = prepared.bind(values).values
        return encoded

    async def write_encoded(self, statement: Statement, rows: Sequence[Sequence[object]]) -> None:
        """Executes a statement that writes, once for each of some rows of encoded values, in one request.

        Args:
            statement: Without a condition.
            rows: As `encode` gives them. Of several partitions, they may be written in part.

        Raises:
            Refusal: UNAVAILABLE. They may have been written all the same, or may be written yet.
        """
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        bound = []
        for row in rows:
            each = BoundStatement(prepared)
            each.values = row
            bound.append(each)
        query = bound[0]
        if len(bound) > 1:
            query = BatchStatement(BatchType.UNLOGGED)
            query.add_all(bound, itertools.repeat(None))
            query.is_idempotent = True
        await self._send(query, conditional=False, serial=False)

    async def _send(self, query: object, conditional: bool, serial: bool) -> list[Row]:
        profile = _CONDITIONAL if conditional else _SERIAL_READS if serial else EXEC_PROFILE_DEFAULT
        async with self._slots:
            answer: asyncio.Future[list[Row]] = self._loop.create_future()
            try:
                request = self._session.execute_async(query, execution_profile=profile)
            except DriverException as error:
                raise _refusal(error) from error
            _Rows(self, request, answer).receive()
            try:
                return await answer
            except _AWAY as error:
                raise _refusal(error) from error

    async def _prepare(self, statement: Statement) -> PreparedStatement:
        # Several who use it first at the same time share one preparation; one who is cancelled does not cancel theirs.
        task = self._preparing.get(statement)
        if task is None:
            task = self._preparing[statement] = self._loop.create_task(self._prepare_now(statement))
        return await asyncio.shield(task)

    async def _prepare_now(self, statement: Statement) -> PreparedStatement:
        try:
            prepared = await asyncio.to_thread(self._session.prepare, statement.cql)
        except _AWAY as error:
            raise _refusal(error) from error
        finally:
            del self._preparing[statement]
        prepared.fetch_size = statement.fetch_size
        prepared.is_idempotent = not statement.conditional
        self._prepared[statement] = prepared
        return prepared

    def _answer(self, answer: asyncio.Future[list[Row]], rows: list[Row] | None, failure: BaseException | None) -> None:
        # In the driver's thread. What arrives together wakes the event loop once.
        self._answers.append((answer, rows, failure))
        if not self._is_woken:
            self._is_woken = True
            # A loop that is closed waits for nothing.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        # Before the queue is emptied: what is added from now on wakes the loop again.
        self._is_woken = False
        while self._answers:
            answer, rows, failure = self._answers.popleft()
            if answer.done():
                continue
            if failure is None:
                answer.set_result(rows or [])
            else:
                answer.set_exception(failure)


class _Rows:
    """Gathers the pages of one answer."""

    __slots__ = ("_answer", "_cassandra", "_request", "_rows")

    def __init__(self, cassandra: CassandraClient, request: ResponseFuture, answer: asyncio.Future[list[Row]]) -> None:
        self._cassandra = cassandra
        self._request = request
        self._answer = answer
        self._rows: list[Row] = []

    def receive(self) -> None:
        self._request.add_callbacks(self._page, self._fail)

    def _page(self, rows: list[Row] | None) -> None:
        if not self._request.has_more_pages:
            self._cassandra._answer(
                self._answer, self._rows + rows if self._rows and rows else rows or self._rows, None
            )
            return
        self._rows += rows or ()
        self._request.start_fetching_next_page()

    def _fail(self, failure: BaseException) -> None:
        self._cassandra._answer(self._answer, None, failure)


def _refusal(error: BaseException) -> Refusal:
    # Not what it says: that may hold values.
    _log.warning("Cassandra does not answer: %s", type(error).__name__)
    return unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)


def _connect(settings: CassandraSettings, connections: type[Connection]) -> Session:
    until = time.monotonic() + _START_SECONDS
    while True:
        cluster = _cluster(settings, connections)
        try:
            session = cluster.connect()
            migrate(session, settings.keyspace, settings.replication)
            session.set_keyspace(settings.keyspace)
        except (*_AWAY, RequestValidationException) as error:
            cluster.shutdown()
            if not _is_slow(error) or time.monotonic() > until:
                raise CassandraError(f"Cassandra at {', '.join(settings.addresses)} cannot be used: {error}") from error
            _log.warning("Cassandra is slow to begin with: %s", type(error).__name__)
        except BaseException:
            cluster.shutdown()
            raise
        else:
            return session


def _is_slow(error: Exception) -> bool:
    """Whether somebody is there, and only too slow: has just started, say, and many processes begin with it."""
    if isinstance(error, NoHostAvailable):
        return any(isinstance(each, OperationTimedOut) for each in error.errors.values())
    return isinstance(error, OperationTimedOut | RequestExecutionException)


def _cluster(settings: CassandraSettings, connections: type[Connection]) -> Cluster:
    hosts, ports = zip(*(address.rsplit(":", 1) for address in settings.addresses), strict=True)
    if len(set(ports)) > 1:
        raise CassandraError(f"the nodes of a Cassandra cluster listen at one port, not at {', '.join(set(ports))}")
    nearest = DCAwareRoundRobinPolicy(settings.datacenter) if settings.datacenter else RoundRobinPolicy()
    consistency, serial = _level(settings.consistency), _level(settings.serial_consistency)

    def profile(level: int = consistency, **policies: object) -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(nearest),
            consistency_level=level,
            serial_consistency_level=serial,
            request_timeout=settings.request_seconds,
            row_factory=tuple_factory,
            **policies,
        )

    profiles = {
        EXEC_PROFILE_DEFAULT: profile(),
        _SERIAL_READS: profile(serial),
        # Sent twice, a conditional write would find itself. Who wrote it reads what is there, and knows.
        _CONDITIONAL: profile(retry_policy=FallthroughRetryPolicy()),
    }
    return Cluster(
        [host.strip("[]") for host in hosts],
        port=int(ports[0]),
        execution_profiles=profiles,
        connection_class=connections,
        # Without it the last part of a larger request waits for the acknowledgement of the part before: 40 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        # The next one adds checksums, computed in Python: a tenth of what a request costs.
        protocol_version=ProtocolVersion.V4,
        auth_provider=PlainTextAuthProvider(settings.username, settings.password) if settings.username else None,
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 5.0, max_attempts=None),
        connect_timeout=settings.request_seconds,
        # Its own two seconds are short for a node that has just started.
        control_connection_timeout=settings.request_seconds,
        idle_heartbeat_interval=10,
        idle_heartbeat_timeout=5,
    )


def _level(name: str) -> int:
    try:
        return int(ConsistencyLevel.name_to_value[name])
    except KeyError:
        raise CassandraError(f"Cassandra has no consistency {name}") from None
