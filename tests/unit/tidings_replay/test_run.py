"""A whole replay against a backend that does wrong on purpose: what a server does wrong shows in the figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from google.rpc import status_pb2

from tests.support.sdk_fake import Backend, FakeSession, serve, status
from tidings.v1 import chat_pb2
from tidings_replay.casting import cast
from tidings_replay.churn import Churn
from tidings_replay.errors import ReplayError
from tidings_replay.irc import IrcLine
from tidings_replay.report import Figures, count
from tidings_replay.run import ReplayResult, replay

# Four people on six devices, two of which drop out.
CONVERSATION = cast([IrcLine("abcd"[number % 4], f"line {number}") for number in range(60)])


async def run(backend: Backend, folder: Path) -> ReplayResult:
    async with serve(backend) as (address, _):
        return await replay(CONVERSATION, address, "A group", folder, lambda what, done, total: None)


async def figures_of(backend: Backend, folder: Path) -> Figures:
    return count((await run(backend, folder)).evidence)


def is_message(event: chat_pb2.Event, text: str) -> bool:
    return event.HasField("message") and event.message.text == text


async def test_an_honest_server_is_flawless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Often, so that a short conversation is broken in every way.
    monkeypatch.setattr(Churn, "_EVERY", (2, 8))
    monkeypatch.setattr(Churn, "_LINES_BROKEN", 0.9)
    backend = Backend()
    figures = await figures_of(backend, tmp_path)
    assert figures.is_flawless
    assert (figures.messages, figures.accepted, figures.devices) == (60, 60, 6)
    assert (figures.expected_deliveries, figures.delivered) == (300, 300)
    assert figures.reconnects > 5
    (log,) = backend.channels.values()
    assert [event.message.text for event in log.events if event.HasField("message")] == [
        f"line {number}" for number in range(60)
    ]


async def test_a_line_whose_result_is_lost_is_said_again_and_a_forgetful_server_is_found_out(tmp_path: Path) -> None:
    backend = Backend()
    lost: list[str] = []

    def commit(session: FakeSession, command: chat_pb2.Command) -> bool:
        """Once, the stream breaks before the result is out, and the server does not remember the message's name."""
        name = command.send_message.client_message_id
        if not name or lost:
            return True
        lost.append(name)
        (log,) = backend.channels.values()
        log.results.clear()
        # Nor does it replay the message, from which the SDK would learn that it was written.
        backend.on_replay = lambda events: [event for event in events if event.message.client_message_id != name]
        session.end()
        return False

    backend.on_commit = commit
    figures = await figures_of(backend, tmp_path)
    assert (figures.accepted, figures.duplicated, figures.converged) == (60, 1, False)


async def test_a_server_that_writes_a_line_twice_is_found_out(tmp_path: Path) -> None:
    backend = Backend()

    def commit(session: FakeSession, command: chat_pb2.Command) -> bool:
        if command.send_message.text == "line 7":
            (log,) = backend.channels.values()
            backend.say(log, session.user_id, "line 7", command.send_message.client_message_id)
        return True

    backend.on_commit = commit
    figures = await figures_of(backend, tmp_path)
    assert (figures.accepted, figures.lost, figures.duplicated, figures.converged) == (60, 0, 1, False)


async def test_a_server_that_changes_a_text_on_the_way_is_found_out(tmp_path: Path) -> None:
    backend = Backend()
    changed: list[str] = []

    def deliver(session: FakeSession, event: chat_pb2.Event) -> Iterable[chat_pb2.Event]:
        if is_message(event, "line 7") and not changed:
            changed.append(session.device_id)
            other = chat_pb2.Event()
            other.CopyFrom(event)
            other.message.text = "something else"
            return [other]
        return [event]

    backend.on_deliver = deliver
    figures = await figures_of(backend, tmp_path)
    assert changed
    assert (figures.lost, figures.duplicated, figures.converged) == (1, 0, False)


async def test_what_the_sdk_repairs_is_no_fault(tmp_path: Path) -> None:
    backend = Backend()

    def deliver(session: FakeSession, event: chat_pb2.Event) -> Iterable[chat_pb2.Event]:
        if is_message(event, "line 7"):
            return []
        return [event, event]

    backend.on_deliver = deliver
    assert (await figures_of(backend, tmp_path)).is_flawless


async def test_what_never_comes_is_given_up_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_replay.run._QUIET_SECONDS", 0.2)
    backend = Backend()
    backend.on_deliver = lambda session, event: [] if is_message(event, "line 59") else [event]
    figures = await figures_of(backend, tmp_path)
    assert figures.lost > 0
    assert not figures.converged


async def test_a_refused_line_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    backend = Backend()

    def refuse(session: FakeSession, command: chat_pb2.Command) -> status_pb2.Status | None:
        return status("INVALID_ARGUMENT", "text: not this") if command.send_message.text == "line 7" else None

    backend.on_command = refuse
    result = await run(backend, tmp_path)
    figures = count(result.evidence)
    assert [str(refusal) for refusal in result.refusals] == ["INVALID_ARGUMENT: text: not this"]
    assert (figures.messages, figures.accepted, figures.lost, figures.converged) == (60, 59, 0, True)
    assert not figures.is_flawless


async def test_a_server_that_takes_no_stream_ends_the_replay(tmp_path: Path) -> None:
    backend = Backend()
    backend.on_connect = lambda server: status("PERMISSION_DENIED", "not you")
    with pytest.raises(ReplayError, match="refuses: PERMISSION_DENIED: not you"):
        await run(backend, tmp_path)


async def test_a_line_that_nobody_answers_ends_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_replay.run._LINE_SECONDS", 0.2)
    backend = Backend()
    backend.on_commit = lambda session, command: command.send_message.text != "line 0"
    with pytest.raises(ReplayError, match="line 1 was not accepted"):
        await run(backend, tmp_path)
