"""Reading a channel's log."""

from __future__ import annotations

from pathlib import Path

import pytest

import tidings_replay
from tidings_replay.errors import ReplayError
from tidings_replay.irc import IrcLine, parse, read

SHIPPED = Path(tidings_replay.__file__).parent / "data" / "2017-07-15.txt"


def test_messages_are_what_somebody_said_in_order() -> None:
    log = (
        "[00:21] <ann> hello\n=== bob [~b@example.org] has joined #ubuntu\n[23:59] <bob|away> <ann> said: [12:00] hi\n"
    )
    assert parse(log) == [IrcLine("ann", "hello"), IrcLine("bob|away", "<ann> said: [12:00] hi")]


@pytest.mark.parametrize(
    "line",
    [
        "[00:21]  * ann waves",
        "=== ann is now known as bob",
        "[00:21] <ann> ",
        "[00:21] <ann>    ",
        "<ann> hi",
        "",
        "hi",
    ],
)
def test_what_nobody_said_is_no_message(line: str) -> None:
    assert parse(f"{line}\n[00:22] <bob> hi\n") == [IrcLine("bob", "hi")]


@pytest.mark.parametrize("text", ["a\tb", "a\x1cb", "a\u2028b", "a\x0cb", " a  b ", "\x02bold\x02", "日本"])
def test_a_text_is_kept_as_it_is(text: str) -> None:
    assert parse(f"[00:21] <ann> {text}\n[00:22] <bob> hi\n") == [IrcLine("ann", text), IrcLine("bob", "hi")]


def test_lines_may_end_in_the_way_of_windows() -> None:
    assert parse("[00:21] <ann> hello\r\n[00:22] <bob> hi\r\n") == [IrcLine("ann", "hello"), IrcLine("bob", "hi")]


def test_bytes_that_are_not_utf_8_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"[00:21] <ann> caf\xe9\n")
    assert read(file) == [IrcLine("ann", "caf\ufffd")]


def test_the_log_that_ships_has_what_its_description_says() -> None:
    lines = read(SHIPPED)
    assert (len(lines), len({line.nick for line in lines})) == (1475, 83)
    assert max(len(line.text) for line in lines) == 458


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"missing\.txt cannot be read: No such file or directory$"):
        read(tmp_path / "missing.txt")


@pytest.mark.parametrize("content", [b"", b"just text\n", b"\x00\xff\x00\xff", b"[00:21]  * ann waves\n"])
def test_a_file_without_messages_is_no_log(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.txt"
    file.write_bytes(content)
    with pytest.raises(ReplayError, match="is not a channel log"):
        read(file)
