"""What something costs an engine, in units that do not depend on the machine: counted, not timed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidings.backends.cassandra.client import CassandraClient, Row
from tidings.backends.sqlite.database import Database

Cost = Mapping[str, int]
"""How much there was of each thing that is counted."""


class Meter:
    """Counts what an engine does while it is on."""

    def __init__(self) -> None:
        self.counted: Counter[str] | None = None

    def count(self, what: str, number: int = 1) -> None:
        if self.counted is not None:
            self.counted[what] += number

    @contextmanager
    def on(self) -> Iterator[Counter[str]]:
        """Counts what happens in the block."""
        counted = self.counted = Counter[str]()
        try:
            yield counted
        finally:
            self.counted = None


class MeteredDatabase(Database):
    """Counts the steps of SQLite's virtual machine, such as reading a row or moving to the next one."""

    def __init__(self, folder: Path) -> None:
        self.meter = Meter()
        super().__init__(folder)

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()

        def step() -> int:
            self.meter.count("steps")
            return 0

        connection.set_progress_handler(step, 1)
        return connection


class MeteredCassandra(CassandraClient):
    """Counts requests to Cassandra, and the rows of their answers."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.meter = Meter()

    async def _send(self, query: object, conditional: bool, serial: bool) -> list[Row]:
        rows = await super()._send(query, conditional, serial)
        self.meter.count("requests")
        self.meter.count("rows", len(rows))
        return rows
