"""What README.md and docs/grpcurl.md show is run as it stands there, against a server started for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.processes import ServerProcess

_ROOT = Path(__file__).parents[2]
_TOOLS = _ROOT / ".build" / "bin"
_ENDPOINT = "127.0.0.1:7400"
_SECONDS = 60.0
# What is another value each time; `command_id` and `client_message_id` are the caller's own.
_NAMES_SOMETHING = re.compile(r"(user|device|server|session|channel)_id|access_token|refresh_token|position")
_MOMENT = re.compile(r"\w+_at")
_CALL = re.compile(r" (list|describe)\b|tidings\.v1\.\w+/(\w+)")
_FIELD = re.compile(r'"(\w+)": "([^"]*)"')


def section(name: str) -> str:
    """A section of the first page."""
    readme = (_ROOT / "README.md").read_text()
    return readme.split(f"\n## {name}\n")[1].split("\n## ")[0]


def blocks(body: str) -> list[tuple[str, str]]:
    """The code blocks of a text: the language and the text of each."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)


async def run(*command: str | Path) -> str:
    """What a command prints; it must succeed, and say nothing on standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": f"{_TOOLS}{os.pathsep}{os.environ.get('PATH', '')}"},
    )
    async with asyncio.timeout(_SECONDS):
        output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


def test_the_examples_in_other_languages_begin_with_what_runs_them() -> None:
    rows = re.findall(r"^\| \[\w+\]\((.+?)\) .*\| (.+) \|$", section("In other languages"), re.MULTILINE)
    assert len(rows) == len([*(_ROOT / "clients" / "examples").glob("*/")])
    for source, shown in rows:
        comment = (_ROOT / source).read_text().split("\n\n")[0]
        assert all(command.replace(_ENDPOINT, "HOST:PORT") in comment for command in re.findall("`(.+?)`", shown))


async def test_the_python_example_sends_and_receives(folder: Path, tmp_path: Path) -> None:
    [(language, code)] = blocks(section("With Python"))
    assert language == "python"
    assert len(code.splitlines()) <= 15
    async with ServerProcess(folder) as server:
        example = tmp_path / "example.py"
        example.write_text(code.replace(_ENDPOINT, server.endpoint))
        assert await run(sys.executable, example) == "Hello, Joan!\n"


async def test_the_grpcurl_commands_of_the_first_page_work(folder: Path) -> None:
    [(language, commands)] = blocks(section("With grpcurl"))
    assert language == "sh"
    async with ServerProcess(folder) as server:
        printed = await run("bash", "-euo", "pipefail", "-c", commands.replace(_ENDPOINT, server.endpoint))
    assert "tidings.v1.ChatService\n" in printed
    assert "rpc Converse" in printed
    assert '"username": "ada"' in printed


async def test_the_grpcurl_session_goes_as_shown(folder: Path) -> None:
    shown = blocks((_ROOT / "docs" / "grpcurl.md").read_text())
    assert [language for language, _ in shown[::2]] == ["sh"] * (len(shown) // 2)
    async with ServerProcess(folder) as server:
        session = _Session(server.endpoint)
        for (_, commands), (language, output) in zip(shown[::2], shown[1::2], strict=True):
            await session.check(commands, language, output)
    assert session.calls == ["list", "describe", "describe", "SignUp", "SignUp", "OpenDirectChannel", "Converse"]


class _Session:
    """A session that goes as the README shows it, with the ids and tokens of this time in place of those shown."""

    def __init__(self, endpoint: str) -> None:
        self.calls: list[str] = []
        self._now = {_ENDPOINT: endpoint}
        self._variables = ""

    async def check(self, commands: str, language: str, shown: str) -> None:
        self.calls += ["".join(words) for words in _CALL.findall(commands)]
        self._variables += "".join(re.findall(r"^[A-Z]+=.*\n", commands, re.MULTILINE))
        printed = await run("bash", "-euo", "pipefail", "-c", self._today(self._variables + commands))
        if language == "json":
            self._agree(_merged(shown), _merged(printed))
        else:
            for (_, then), (name, now) in zip(_FIELD.findall(shown), _FIELD.findall(printed), strict=True):
                self._agree(then, now, name)
            assert printed == self._today(shown)

    def _today(self, text: str) -> str:
        for then, now in self._now.items():
            text = text.replace(then, now)
        return text

    def _agree(self, shown: Any, printed: Any, name: str = "") -> None:
        """Everything is as shown, but for what names something: that is noted, and the same from then on."""
        if isinstance(shown, dict):
            assert list(shown) == list(printed), name
            for key, value in shown.items():
                self._agree(value, printed[key], key)
        elif isinstance(shown, list):
            assert len(shown) == len(printed), name
            for then, now in zip(shown, printed, strict=True):
                self._agree(then, now, name)
        elif _NAMES_SOMETHING.fullmatch(name):
            assert self._now.setdefault(shown, printed) == printed, name
        elif _MOMENT.fullmatch(name):
            assert re.fullmatch(r"[-\d]{10}T[:\d]{8}(\.\d+)?Z", printed), name
        else:
            assert self._now.get(shown, shown) == printed, name


def _merged(text: str) -> Any:
    """One document, or the events of several frames: how many come in one is a matter of time."""
    documents = list(_documents(text))
    if len(documents) == 1:
        return documents[0]
    return [event for document in documents for event in document["events"]]


def _documents(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        yield document
