"""The examples in other languages do what they show, with the stubs that their own tools make of protos/."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.raw import Api, Device
from tests.support.waiting import eventually
from tidings.v1 import account_pb2, channel_pb2, history_pb2

COMPOSITIONS = ("embedded", "mesh")

_ROOT = Path(__file__).parents[2]
_BUILT = _ROOT / ".build" / "examples"
_SECONDS = 60.0
_PASSWORD = "correct horse"


class _Example(NamedTuple):
    """One of clients/examples."""

    source: str
    writer: str
    reader: str
    command: tuple[str | Path, ...]
    """What runs it once it is built."""


_JAVA_17 = next(Path("/usr/lib/jvm").glob("java-17-openjdk-*/bin/java"), "java")
_KOTLIN_CLASSES = f"{_BUILT}/kotlin/target/classes:{_BUILT}/kotlin/target/dependency/*"
_EXAMPLES = {
    "go": _Example("main.go", "rob", "ken", (_BUILT / "go/example",)),
    "kotlin": _Example("src/Main.kt", "svetlana", "andrey", (_JAVA_17, "-cp", _KOTLIN_CLASSES, "MainKt")),
    "rust": _Example("src/main.rs", "graydon", "niko", (_BUILT / "rust/target/debug/example",)),
    "typescript": _Example(
        "main.ts", "anders", "brendan", (Path(sys.executable).with_name("node"), _BUILT / "typescript/build/main.js")
    ),
}
# On one line or, in Go and where Rust takes its stubs in, on several.
_IMPORTS = re.compile(r"^import \((?s:.*?)^\)$|^mod (?s:.*?)^}$|^(import|use|package) .*$", re.MULTILINE)


async def run(*command: str | Path) -> str:
    """What a command prints; it must succeed, and say nothing on standard error."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


async def log_in(api: Api, name: str) -> Device:
    """A device of somebody who has signed up in an example."""
    return Device(api, await api.accounts.LogIn(account_pb2.LogInRequest(username=name, password=_PASSWORD)))


@pytest.mark.parametrize("language", _EXAMPLES)
async def test_two_people_talk(language: str, api: Api, endpoint: str) -> None:
    _, writer, reader, command = _EXAMPLES[language]
    text = f"Hello, {reader.capitalize()}!"
    assert await run(*command, endpoint) == f"{writer} sent message 1\n{reader} received: {text}\n"

    author, here = await log_in(api, writer), await log_in(api, reader)
    [channel] = (await api.channels.ListChannels(channel_pb2.ListChannelsRequest(), metadata=here.metadata)).channels
    request = history_pb2.ListMessagesRequest(channel_id=channel.channel_id)
    [message] = (await api.history.ListMessages(request, metadata=here.metadata)).messages
    assert (message.seq, message.text, message.sender_id) == (1, text, author.user_id)

    async def acknowledged() -> bool:
        request = channel_pb2.GetChannelRequest(channel_id=channel.channel_id)
        answer = await api.channels.GetChannel(request, metadata=here.metadata)
        return answer.channel.my_delivered_seq == 1

    await eventually(acknowledged)


@pytest.mark.parametrize("language", _EXAMPLES)
def test_it_is_short(language: str) -> None:
    """Counted are lines that hold a word, without comments and imports: brackets alone say nothing."""
    text = (_ROOT / "clients" / "examples" / language / _EXAMPLES[language].source).read_text()
    code = [line for line in _IMPORTS.sub("", text).splitlines() if not line.lstrip().startswith("//")]
    assert len([line for line in code if re.search(r"\w", line)]) <= 45
