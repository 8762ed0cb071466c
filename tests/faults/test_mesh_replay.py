"""A real conversation through a mesh whose chat servers are killed, one after the other, while it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import tidings_replay
from tidings_replay.casting import cast
from tidings_replay.irc import read
from tidings_replay.report import count
from tidings_replay.run import replay
from tidings_server.cluster.cluster import Cluster

_LOG = Path(tidings_replay.__file__).parent / "data" / "2017-07-15.txt"
_LINES = 200


async def test_a_real_conversation_survives_the_death_of_every_chat_server(cluster: Cluster, tmp_path: Path) -> None:
    file, folder = tmp_path / "conversation.txt", tmp_path / "devices"
    folder.mkdir()
    file.write_text("".join(_LOG.read_text(encoding="utf-8").splitlines(keepends=True)[:_LINES]), encoding="utf-8")
    conversation = cast(read(file))
    victims = cluster.of_kind("chat")
    step = len(conversation.script) // (len(victims) + 1)
    deaths: list[asyncio.Task[None]] = []

    async def die(number: int) -> None:
        # One at a time; whichever owns the channel is among them.
        await asyncio.gather(*deaths[:number])
        await victims[number].kill()
        await victims[number].start()

    def progressed(what: str, done: int, _: int) -> None:
        if what == "talking" and len(deaths) < len(victims) and done == step * (len(deaths) + 1):
            deaths.append(asyncio.create_task(die(len(deaths))))

    result = await replay(conversation, cluster.endpoint, "A replay", folder, progressed)
    await asyncio.gather(*deaths)
    assert len(deaths) == len(victims)
    figures = count(result.evidence)
    assert not result.refusals
    assert figures.accepted == figures.messages == len(conversation.script)
    assert (figures.lost, figures.duplicated, figures.out_of_order) == (0, 0, 0)
    assert figures.converged and figures.is_flawless
