"""Cassandra with a driver that loses requests and answers, as a network does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from cassandra import OperationTimedOut
from cassandra.query import BatchStatement, BoundStatement

from tidings.backends.cassandra.client import CassandraClient
from tidings.backends.cassandra.driver import CassandraSettings


class UnreliableSession:
    """A session of the driver that does to the requests that `concerns` picks what the test says."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._held: list[Callable[[], Any]] = []
        self.concerns: Callable[[str], bool] = lambda cql: False
        self.is_sent = False
        """Whether they are sent, and only the answer is lost."""
        self.lost = 0
        """How many have been."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def execute_async(self, query: Any, **arguments: Any) -> Any:
        def send() -> Any:
            return self._session.execute_async(query, **arguments)

        if not any(map(self.concerns, self._cql(query))):
            return send()
        self.lost += 1
        if self.is_sent:
            return _Lost(send())
        self._held.append(send)
        return _Lost()

    def send_held(self) -> list[Any]:
        """The requests that were lost are on their way after all; gives what the driver knows them by."""
        held, self._held = self._held, []
        return [send() for send in held]

    async def deliver(self) -> None:
        """The requests that were lost arrive after all."""
        for request in self.send_held():
            # The driver needs the event loop to get the answer.
            await asyncio.to_thread(request.result)

    def recover(self) -> None:
        """Nothing is lost from now on."""
        self.concerns = lambda cql: False

    def _cql(self, query: BoundStatement | BatchStatement) -> Iterable[str]:
        """The statements of a request."""
        if isinstance(query, BoundStatement):
            return [query.prepared_statement.query_string]
        prepared = self._session.cluster._prepared_statements
        return [prepared[query_id].query_string for _, query_id, _ in query._statements_and_parameters]


class _Lost:
    """What the driver gives for a request that nobody answers, or whose answer is lost."""

    def __init__(self, request: Any = None) -> None:
        self._request = request

    def add_callbacks(self, callback: Callable[..., None], errback: Callable[[BaseException], None]) -> None:
        def lost(_: object) -> None:
            errback(OperationTimedOut())

        if self._request is None:
            lost(None)
        else:
            # What it asked for has been done by then.
            self._request.add_callbacks(lost, lost)


async def unreliable(settings: CassandraSettings) -> tuple[CassandraClient, UnreliableSession]:
    """A connection whose session can be told to lose requests."""
    cassandra = await CassandraClient.open(settings)
    session = UnreliableSession(cassandra._session)
    cassandra._session = session
    return cassandra, session
