"""A client of Cassandra for asyncio, shared by all ports of a process. Every failure becomes a `Refusal`.

A port declares its statements beside the code that uses them, and executes them with a tuple of values:

    _FIND = Statement("SELECT name FROM people WHERE id = ?")
    _TAKE = Statement("INSERT INTO people (id, name) VALUES (?, ?) IF NOT EXISTS", conditional=True)

    rows = await cassandra.execute(_FIND, (person_id,))
    (applied, *_), *_ = await cassandra.execute(_TAKE, (person_id, name))

A statement is prepared at its first use. Rows are tuples in the order of the columns selected. `batch` writes several
statements to one partition. The tables are made by `migrations/NNNN_name.cql`; see `migrations.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from cassandra import DriverException
from cassandra.cluster import ResponseFuture, Session
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from tidings.backends.cassandra.driver import AWAY, CONDITIONAL, PLAIN, SERIAL_READS, CassandraSettings, connect
from tidings.backends.cassandra.reactor import connections_on
from tidings.core.errors import Refusal, unavailable
from tidings.core.reasons import Reason

_log = logging.getLogger(__name__)

Row = tuple[Any, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Statement:
    """A statement of CQL, prepared at its first use.

    Args:
        cql: The statement, with `?` for its values.
        conditional: Whether it is a conditional write (IF …). The driver never sends such a statement twice.
        serial: Whether it reads at the serial level, which settles conditional writes that are under way.
        fetch_size: How many rows come in one answer. All rows come in the end.
    """

    cql: str
    conditional: bool = False
    serial: bool = False
    fetch_size: int = 5_000


Write = tuple[Statement, Sequence[object]]
"""A statement that writes, and the values for its `?`."""


class CassandraClient:
    """A connection to a cluster, for the event loop that opened it. `open` makes one.

    Args:
        settings: Where Cassandra is.
        session: A session of the driver. The client closes it.
    """

    def __init__(self, settings: CassandraSettings, session: Session) -> None:
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
        """Connect, make the keyspace and bring its tables up to date.

        Raises:
            CassandraError: No node answers, or the tables are of a newer tidings.
        """
        return cls(settings, await asyncio.to_thread(connect, settings, connections_on(asyncio.get_running_loop())))

    async def close(self) -> None:
        """Close the connection; requests under way fail."""
        await asyncio.to_thread(self._session.cluster.shutdown)

    async def execute(self, statement: Statement, values: Sequence[object] = ()) -> list[Row]:
        """Execute a statement.

        Args:
            statement: The statement.
            values: The values for its `?`, in order.

        Returns:
            The rows. For a conditional write it is one row, which begins with whether the write was applied.

        Raises:
            Refusal: UNAVAILABLE. A write may have been done all the same, or may still be done.
        """
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        return await self._send(prepared.bind(values), statement.conditional, statement.serial)

    async def execute_many(self, statement: Statement, values: Iterable[Sequence[object]]) -> list[Row]:
        """Execute a statement several times at once, with other values each time.

        Args:
            statement: The statement.
            values: The values for its `?`, for each time.

        Returns:
            The rows of all answers, in the order of `values`.

        Raises:
            Refusal: UNAVAILABLE.
        """
        answers = await asyncio.gather(*(self.execute(statement, each) for each in values))
        return [row for rows in answers for row in rows]

    async def batch(self, statements: Iterable[Write], conditional: bool = False, logged: bool = False) -> list[Row]:
        """Execute several writes in one request.

        Writes to one partition are done completely or not at all. With a condition in one of them, they are done only
        if it holds. Writes to several partitions may be done in part, unless they are `logged`.

        Args:
            statements: The writes.
            conditional: Whether one of them has a condition.
            logged: Whether writes to several partitions are done completely or not at all, at the price of a log.

        Returns:
            As for `execute`.

        Raises:
            Refusal: UNAVAILABLE. The writes may have been done all the same, or may still be done.
        """
        batch = BatchStatement(BatchType.LOGGED if logged else BatchType.UNLOGGED)
        for statement, values in statements:
            batch.add(self._prepared.get(statement) or await self._prepare(statement), values)
        batch.is_idempotent = not conditional
        return await self._send(batch, conditional, serial=False)

    async def encode(self, statement: Statement, values: Sequence[object]) -> list[object]:
        """Encode the values of a statement for `write_encoded`, so that rows which are mostly alike share the work.

        Returns:
            Bytes for each `?`, or the driver's mark for a value that is not set.

        Raises:
            Refusal: UNAVAILABLE.
        """
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        encoded: list[object] = prepared.bind(values).values
        return encoded

    async def write_encoded(self, statement: Statement, rows: Sequence[Sequence[object]]) -> None:
        """Execute a write for each of some rows of encoded values, in one request.

        Args:
            statement: The write, without a condition.
            rows: Rows of values as `encode` returns them. Rows of several partitions may be written in part.

        Raises:
            Refusal: UNAVAILABLE. The rows may have been written all the same, or may still be written.
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
        profile = CONDITIONAL if conditional else SERIAL_READS if serial else PLAIN
        async with self._slots:
            answer: asyncio.Future[list[Row]] = self._loop.create_future()
            try:
                request = self._session.execute_async(query, execution_profile=profile)
            except DriverException as error:
                raise _refusal(error) from error
            _Rows(self, request, answer).receive()
            try:
                return await answer
            except AWAY as error:
                raise _refusal(error) from error

    async def _prepare(self, statement: Statement) -> PreparedStatement:
        # Callers that need the same statement at the same time share one preparation, which outlives a cancelled one.
        task = self._preparing.get(statement)
        if task is None:
            task = self._preparing[statement] = self._loop.create_task(self._prepare_now(statement))
        return await asyncio.shield(task)

    async def _prepare_now(self, statement: Statement) -> PreparedStatement:
        try:
            prepared = await asyncio.to_thread(self._session.prepare, statement.cql)
        except AWAY as error:
            raise _refusal(error) from error
        finally:
            del self._preparing[statement]
        prepared.fetch_size = statement.fetch_size
        prepared.is_idempotent = not statement.conditional
        self._prepared[statement] = prepared
        return prepared

    def _answer(self, answer: asyncio.Future[list[Row]], rows: list[Row] | None, failure: BaseException | None) -> None:
        # Runs in the driver's thread. Answers that arrive together wake the event loop once.
        self._answers.append((answer, rows, failure))
        if not self._is_woken:
            self._is_woken = True
            # A closed loop raises RuntimeError, and nothing waits for the answer there.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        # Before the queue is emptied, so that an answer added from now on wakes the loop again.
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
    """Gathers the pages of one answer in the driver's thread."""

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
    # Without the message of the error, which may hold values.
    _log.warning("Cassandra does not answer: %s", type(error).__name__)
    return unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)
