"""Hostile inputs: the server lives, answers each with a status that is defined, and nobody else notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.bystanders import Bystanders
from tests.fuzz.run import attack, fuzz
from tests.support.processes import ServerProcess
from tests.support.settings import UNLIMITED
from tidings_server.cluster.cluster import Cluster

pytestmark = pytest.mark.timeout(900)

_SEED = 20_261_128


async def test_twenty_thousand_hostile_inputs_harm_nobody(tmp_path: Path) -> None:
    report = await fuzz(ServerProcess(tmp_path / "data", config=UNLIMITED), 20_000, _SEED)
    print(report)
    assert report.answers["inputs"] >= 20_000
    assert report.answers["forbidden"] == []
    assert report.code == 0
    assert "Traceback" not in report.logged
    # No message is late by a second, but for what the machine itself kept everybody waiting.
    assert report.talk.longest < 1.0 + report.talk.longest_stall
    before, after = report.memory
    assert after < before * 1.1


async def test_no_listener_of_a_mesh_is_harmed_either(cluster: Cluster) -> None:
    bystanders = Bystanders(cluster.endpoint)
    await bystanders.start()
    for number, (name, server) in enumerate(cluster.servers.items()):
        # Other tests have used this mesh, and killed parts of it.
        process, logged = server.pid, server.log.stat().st_size
        public = await attack(server.address, 1_000, _SEED + number, "--sign-up", cluster.endpoint)
        internal = await attack(server.internal_address, 1_000, _SEED + number, "--internal")
        assert (name, public["forbidden"], internal["forbidden"]) == (name, [], [])
        assert server.running and server.pid == process
        assert b"Traceback" not in server.log.read_bytes()[logged:]
    talk = await bystanders.stop()
    assert talk.longest < 1.0 + talk.longest_stall
