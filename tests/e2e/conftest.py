from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess
from tests.support.raw import Api
from tests.support.settings import CHEAP_SIGN_UPS


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for all tests of this folder that neither restart it nor set it up in their own way."""
    loop = asyncio.new_event_loop()
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data", config=CHEAP_SIGN_UPS)
    loop.run_until_complete(server.start())
    yield server.endpoint
    loop.run_until_complete(server.kill())
    loop.close()


@pytest.fixture
async def api(endpoint: str) -> AsyncIterator[Api]:
    """The stubs of that server."""
    made = Api(endpoint)
    yield made
    await made.channel.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"
