"""The guard of the event loop finds what it is there to find."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.support.loop_guard import COMPLAINT

_PROGRAM = """
import asyncio, socket
from tests.support.loop_guard import guard

def work():
    {work}

async def on_the_loop():
    work()

async def beside_it():
    await asyncio.to_thread(work)

guard()
asyncio.run({where}())
"""
_WORKS = ["open('/dev/null').close()", "socket.getaddrinfo('127.0.0.1', 1)"]


@pytest.mark.parametrize("work", _WORKS)
@pytest.mark.parametrize(("where", "found"), [("on_the_loop", True), ("beside_it", False)])
async def test_what_waits_on_the_loop_is_said(work: str, where: str, found: bool) -> None:
    program = _PROGRAM.format(work=work, where=where)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert (COMPLAINT in errors.decode()) is found, errors
