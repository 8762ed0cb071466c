"""`tidings replay` as people run it: a real conversation, a real server, both in processes of their own."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import tidings_replay
from tests.support.processes import run_tidings, start_tidings

SHIPPED = Path(tidings_replay.__file__).parent / "data" / "2017-07-15.txt"
FIELDS = {
    "messages": int,
    "accepted": int,
    "devices": int,
    "expected_deliveries": int,
    "delivered": int,
    "lost": int,
    "duplicated": int,
    "out_of_order": int,
    "reconnects": int,
    "converged": bool,
    "seconds": float,
    "accept_p50_ms": float,
    "accept_p99_ms": float,
}


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    """The first lines of a real one: 113 messages by 11 people."""
    file = tmp_path / "conversation.txt"
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:120]), encoding="utf-8")
    return file


async def test_a_real_conversation_reaches_every_device(conversation: Path) -> None:
    outcome = await run_tidings("replay", conversation, "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert {name: type(value) for name, value in figures.items()} == FIELDS
    assert (figures["messages"], figures["accepted"], figures["devices"]) == (113, 113, 16)
    assert figures["expected_deliveries"] == figures["delivered"] == 113 * 15
    assert (figures["lost"], figures["duplicated"], figures["out_of_order"]) == (0, 0, 0)
    assert figures["converged"] is True
    assert figures["reconnects"] > 0
    assert 0 < figures["accept_p50_ms"] <= figures["accept_p99_ms"] < figures["seconds"] * 1000
    assert "113 lines by 11 people on 16 devices" in outcome.err


async def test_people_get_a_table(conversation: Path) -> None:
    outcome = await run_tidings("replay", conversation)
    assert outcome.code == 0, outcome.err
    assert "flawless" in outcome.out
    assert re.search(r"expected deliveries +│ +1,695 │", outcome.out)
    assert outcome.err == ""


async def test_a_running_server_can_be_used_again_and_again(conversation: Path, endpoint: str) -> None:
    for _ in range(2):
        outcome = await run_tidings("replay", conversation, "--server", endpoint, "--json")
        assert outcome.code == 0, outcome.err


async def test_those_for_whom_a_group_has_no_room_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "crowd.txt"
    lines = [f"[00:{number % 60:02}] <nick{number}> hello\n" for number in range(103)]
    file.write_text("".join(lines + lines[:1]), encoding="utf-8")
    outcome = await run_tidings("replay", file, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["messages"] == 101
    assert "3 lines by 3 other people are left out" in outcome.err


async def test_a_server_that_wants_sign_ups_to_be_slower_is_obeyed(conversation: Path) -> None:
    slow = {"TIDINGS_RATES__SIGN_UPS__BURST": "2", "TIDINGS_RATES__SIGN_UPS__PER_SECOND": "10"}
    outcome = await run_tidings("replay", conversation, "--json", environment=slow)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.txt"], "missing.txt cannot be read: No such file or directory"),
        ([__file__], f"{__file__} is not a channel log: no line of it reads [HH:MM] <nick> text"),
        ([SHIPPED, "--server", "127.0.0.1:1"], "no server answers at 127.0.0.1:1: "),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_sentence(arguments: list[str | Path], sentence: str) -> None:
    outcome = await run_tidings("replay", *arguments, "--json")
    assert (outcome.code, outcome.out) == (1, "")
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"tidings replay: {sentence}")
    assert "Traceback" not in outcome.err


@contextlib.contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """Ignores a signal, as a shell has its background jobs ignore SIGINT."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_replay_that_is_stopped_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    with ignored(number):
        process = await start_tidings("replay", SHIPPED, environment={"TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    async for line in process.stdout:
        if b"listens on" in line:
            break
    children = psutil.Process(process.pid).children()
    assert len(children) == 1
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    assert not any(child.is_running() for child in children)
    assert contents(tmp_path) == []
