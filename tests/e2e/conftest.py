from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.loop_guard import COMPLAINT
from tests.support.processes import ServerProcess
from tests.support.raw import Api
from tests.support.settings import CHEAP_SIGN_UPS
from tidings_server.cluster.cluster import Cluster


@pytest.fixture(scope="session")
def standing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests of this folder that neither restart it nor set it up in their own way.

    It is watched: whatever they do, nothing waits on its event loop.
    """
    loop = asyncio.new_event_loop()
    program = (sys.executable, "-m", "tests.support.loop_guard")
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data", config=CHEAP_SIGN_UPS, program=program)
    loop.run_until_complete(server.start())
    yield server
    _, log = loop.run_until_complete(server.terminate())
    loop.close()
    assert COMPLAINT not in log, log


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The tests of a module that names COMPOSITIONS run on each of them."""
    if "composition" in metafunc.fixturenames and hasattr(metafunc.module, "COMPOSITIONS"):
        metafunc.parametrize("composition", metafunc.module.COMPOSITIONS)


@pytest.fixture
def composition() -> str:
    """What answers at `endpoint`: "embedded", one process on SQLite, or "mesh"."""
    return "embedded"


@pytest.fixture
def endpoint(composition: str, request: pytest.FixtureRequest) -> str:
    """Where people sign in."""
    if composition == "embedded":
        server: ServerProcess = request.getfixturevalue("standing_server")
        return server.endpoint
    cluster: Cluster = request.getfixturevalue("standing_cluster")
    # What another test may have killed.
    asyncio.run(cluster.start())
    return cluster.endpoint


@pytest.fixture
async def api(endpoint: str) -> AsyncIterator[Api]:
    """The stubs of the servers there."""
    made = Api(endpoint)
    yield made
    await made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"
