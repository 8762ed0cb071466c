from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.engines import ENGINES, Ports


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine under test."""
    return str(request.param)


@pytest.fixture
async def ports(engine: str, tmp_path: Path) -> AsyncIterator[Ports]:
    """The engine's ports, on empty storage."""
    async with ENGINES[engine](tmp_path) as opened:
        yield opened
