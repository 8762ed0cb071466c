from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.engines import CassandraEngine, OpenPorts, Ports, sqlite
from tests.support.engines import Engines


@pytest.fixture(scope="session", params=["sqlite", "cassandra"])
def engine(request: pytest.FixtureRequest) -> OpenPorts:
    """The engine under test."""
    if request.param == "sqlite":
        return sqlite
    engines: Engines = request.getfixturevalue("engines")
    return CassandraEngine(engines.cassandra())


@pytest.fixture
async def ports(engine: OpenPorts, tmp_path: Path) -> AsyncIterator[Ports]:
    """The engine's ports, on empty storage."""
    async with engine(tmp_path) as opened:
        yield opened
