"""One run: a listener is attacked from a process of its own, while two people talk."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.bystanders import Bystanders, Talk
from tests.support.processes import ServerProcess
from tests.support.raw import Api


async def attack(endpoint: str, inputs: int, seed: int, *options: str) -> dict[str, Any]:
    """Attack a listener from another process.

    Args:
        endpoint: The listener, HOST:PORT.
        inputs: How many inputs.
        seed: The same seed makes the same inputs.
        options: More of the command line of `python -m tests.fuzz attack`.

    Returns:
        What `Answers` has.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fuzz", "attack", endpoint),
        *("--inputs", str(inputs), "--seed", str(seed), *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    out = await process.stdout.read()
    assert await process.wait() == 0, "the attacker failed"
    answers: dict[str, Any] = json.loads(out)
    return answers


@dataclass(frozen=True)
class Report:
    """What a run showed."""

    answers: dict[str, Any]
    talk: Talk
    memory: Sequence[int]
    """Bytes that the server had resident before and after."""
    code: int
    """What the server ended with, when it was asked to."""
    logged: str

    def __str__(self) -> str:
        before, after = (size >> 20 for size in self.memory)
        return (
            f"{self.answers['inputs']:,} inputs; {self.answers['codes']}; two people's messages: p99 "
            f"{self.talk.p99 * 1e3:.0f} ms, longest {self.talk.longest * 1e3:.0f} ms, of which the machine itself may "
            f"have kept them {self.talk.longest_stall * 1e3:.0f} ms; memory {before} MiB before and {after} MiB after; "
            f"{len(self.logged.splitlines())} lines logged"
        )


async def fuzz(server: ServerProcess, inputs: int, seed: int) -> Report:
    """Start a server, attack it, and end it.

    Args:
        server: The server, which runs not yet.
        inputs: How many inputs; a tenth as many come before, since a server needs some things once.
        seed: The same seed makes the same inputs.
    """
    async with server:
        await attack(server.endpoint, inputs // 2, seed + 1)
        before = server.rss()
        bystanders = Bystanders(server.endpoint)
        await bystanders.start()
        answers = await attack(server.endpoint, inputs, seed)
        talk = await bystanders.stop()
        after = server.rss()
        # It takes connections still.
        api = Api(server.endpoint)
        await api.sign_up("after")
        await api.close()
        code, logged = await server.terminate()
    return Report(answers, talk, (before, after), code, logged)
