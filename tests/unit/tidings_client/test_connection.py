"""The SDK's connection against a backend that does wrong on purpose, over real gRPC on loopback."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from tests.support.sdk_fake import Backend, FakeSession, Log, no, serve, status
from tidings.v1 import chat_pb2, discovery_pb2
from tidings_client import Connection, ReplacedError, SignedOutError, Status, Tidings, TidingsError
from tidings_client._progress import Progress, ProgressUpdate
from tidings_client._storage import Storage

pytestmark = pytest.mark.timeout(60)

PASSWORD = "correct horse"


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def address(backend: Backend) -> AsyncIterator[str]:
    async with serve(backend) as (address, _):
        yield address


@pytest.fixture
async def ann(address: str) -> AsyncIterator[Tidings]:
    async with await Tidings.sign_up(address, "ann", PASSWORD) as client:
        yield client


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "ann.tidings"


@pytest.fixture
async def group(backend: Backend, ann: Tidings) -> Log:
    return backend.channel([ann.user_id, "user-bob"])


def say(backend: Backend, log: Log, *texts: str) -> None:
    for text in texts:
        backend.say(log, "user-bob", text)


async def take(connection: Connection, kind: str, count: int = 1) -> list[Any]:
    """The bodies of the next events of a kind; others are passed over."""
    found: list[Any] = []
    async for event in connection:
        if event.HasField(kind):
            found.append(getattr(event, kind))
            if len(found) == count:
                break
    return found


async def texts(connection: Connection, count: int) -> list[str]:
    return [message.text for message in await take(connection, "message", count)]


class Once:
    """Lets something happen a number of times."""

    def __init__(self, times: int = 1) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


class Watch:
    """Follows a connection's status."""

    def __init__(self) -> None:
        self.seen: list[Status] = []
        self._changed = asyncio.Event()

    def __call__(self, status: Status) -> None:
        # A short replay comes in the frame of the Welcome: then there is no time of syncing to tell of.
        if status is not Status.SYNCING:
            self.seen.append(status)
            self._changed.set()

    async def until_live(self, times: int) -> None:
        while self.seen.count(Status.LIVE) < times:
            self._changed.clear()
            await self._changed.wait()


# --- what goes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_replayed", [True, False], ids=["the replay tells", "sending again tells"])
async def test_a_stream_lost_between_a_commit_and_its_result(
    backend: Backend, ann: Tidings, group: Log, is_replayed: bool
) -> None:
    break_now = Once()

    def commit(session: FakeSession, command: chat_pb2.Command) -> bool:
        if command.HasField("send_message") and break_now():
            if not is_replayed:
                backend.on_replay = lambda events: []
            session.end(no("UNAVAILABLE", "pulled the plug"))
            return False
        return True

    backend.on_commit = commit
    async with ann.connect() as connection:
        accepted = await connection.send(group.channel_id, "once", client_message_id="m1")
        (message,) = await take(connection, "message")
        # What comes next is not the same message again.
        say(backend, group, "next")
        assert await texts(connection, 1) == ["next"]
    assert [event.message.text for event in group.events if event.HasField("message")] == ["once", "next"]
    assert (message.text, message.seq, message.position) == ("once", accepted.seq, accepted.position)
    assert group.results[ann.user_id, "m1"] == accepted
    assert len(backend.connects) == 2


async def test_many_sends_over_a_stream_that_breaks_again_and_again(backend: Backend, ann: Tidings, group: Log) -> None:
    count = 0

    def commit(session: FakeSession, command: chat_pb2.Command) -> bool:
        nonlocal count
        count += command.HasField("send_message")
        if count % 23 == 0:
            session.end(no("UNAVAILABLE"))
            return False
        return True

    backend.on_commit = commit
    async with ann.connect(max_in_flight=16) as connection:
        results = await asyncio.gather(*(connection.send(group.channel_id, f"{number}") for number in range(200)))
        messages = await take(connection, "message", 200)
        assert connection.reconnects >= 5
    assert [(each.text, each.seq) for each in messages] == [
        (f"{number}", result.seq) for number, result in enumerate(results)
    ]
    assert [event.message.text for event in group.events[1:]] == [f"{number}" for number in range(200)]


@pytest.mark.parametrize(
    "refused", [status("UNAVAILABLE"), status("ABORTED"), status("RESOURCE_EXHAUSTED", retry_after=0.01)]
)
async def test_a_refusal_that_passes_is_waited_out_in_order(
    backend: Backend, ann: Tidings, group: Log, refused: status_pb2.Status
) -> None:
    passes = Once(2)
    backend.on_command = lambda session, command: refused if command.send_message.text == "first" and passes() else None
    async with ann.connect(max_in_flight=1) as connection:
        first = asyncio.create_task(connection.send(group.channel_id, "first"))
        second = asyncio.create_task(connection.send(group.channel_id, "second"))
        assert (await first).seq < (await second).seq
        assert await texts(connection, 2) == ["first", "second"]
    assert passes.left == -1, "it was refused twice and then granted"


async def test_what_was_sent_without_waiting_keeps_its_order_through_a_rate_limit(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    count = 0

    def limit(session: FakeSession, command: chat_pb2.Command) -> status_pb2.Status | None:
        nonlocal count
        count += command.HasField("send_message")
        # As a bucket does that gets a token between two commands of one frame.
        return status("RESOURCE_EXHAUSTED", reason="RATE_LIMITED", retry_after=0.001) if count % 3 else None

    backend.on_command = limit
    async with ann.connect() as connection:
        await asyncio.gather(*(connection.send(group.channel_id, f"{number}") for number in range(60)))
        assert await texts(connection, 60) == [f"{number}" for number in range(60)]
    assert count > 60


async def test_a_program_that_only_sends_keeps_little_and_misses_nothing_when_it_reads_after_all(
    backend: Backend, ann: Tidings, group: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING", 20)
    most = 0
    async with ann.connect() as connection:
        for number in range(200):
            backend.say(group, "user-bob", f"bob {number}")
            await connection.send(group.channel_id, f"ann {number}")
            most = max(most, len(connection._protocol.receive_buffer))
        assert connection.reconnects == 0
        assert 20 < most <= 41
        found = await texts(connection, 400)
        assert connection.reconnects >= 1
        await connection.send(group.channel_id, "the end")
        assert await texts(connection, 1) == ["the end"]
    assert found == [event.message.text for event in group.events if event.HasField("message")][:400]


async def test_a_refusal_for_good_is_the_callers_and_harms_nothing_else(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    async with ann.connect() as connection:
        with pytest.raises(TidingsError, match="no such channel") as refused:
            await connection.send("nowhere", "hello")
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert (await connection.send(group.channel_id, "hello")).seq == 2
    assert len(backend.connects) == 1


async def test_a_command_that_no_frame_can_hold_is_refused_here(backend: Backend, ann: Tidings, group: Log) -> None:
    async with ann.connect() as connection:
        with pytest.raises(TidingsError) as refused:
            await connection.send(group.channel_id, "x" * (1 << 20))
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [each.field for each in refused.value.violations] == ["text"]
        # Many that are large, but not too large, go in several frames.
        await asyncio.gather(*(connection.send(group.channel_id, "x" * 400_000) for _ in range(8)))
    assert len(backend.connects) == 1
    assert len(group.events) == 9


async def test_a_command_given_up_before_it_is_on_its_way_is_never_sent(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    is_open = False
    tried = asyncio.Event()

    def connect(_: str) -> status_pb2.Status | None:
        tried.set()
        return None if is_open else status("UNAVAILABLE")

    backend.on_connect = connect
    async with ann.connect() as connection:
        given_up = asyncio.create_task(connection.send(group.channel_id, "given up"))
        await tried.wait()
        given_up.cancel()
        await asyncio.wait({given_up})
        is_open = True
        await connection.send(group.channel_id, "sent")
    assert [event.message.text for event in group.events[1:]] == ["sent"]


async def test_every_sort_of_command(backend: Backend, ann: Tidings, group: Log) -> None:
    typed = asyncio.Event()

    def command(session: FakeSession, command: chat_pb2.Command) -> None:
        if command.HasField("set_typing"):
            typed.set()

    backend.on_command = command
    async with ann.connect() as connection:
        sent = await connection.send(group.channel_id, "helo", reply_to_seq=1)
        edited = await connection.edit(group.channel_id, sent.seq, "hello")
        deleted = await connection.delete(group.channel_id, sent.seq)
        assert await connection.delete(group.channel_id, sent.seq) == deleted
        assert (await connection.mark_read(group.channel_id, edited.seq)).seq == edited.seq
        assert (await connection.mark_read(group.channel_id, 1)).seq == edited.seq
        await connection.set_typing(group.channel_id)
        await typed.wait()
        seen = [await anext(connection) for _ in range(5)]
    # Among them is the log as everybody has it, whether the event was made here or fetched.
    assert [event for event in seen if event.position and not event.HasField("sync_complete")] == group.events
    assert [sent.seq, edited.seq, deleted.seq] == [2, 3, 4]


async def test_without_echo_only_what_others_do_comes(backend: Backend, ann: Tidings, group: Log) -> None:
    async with ann.connect(echo=False) as connection:
        await connection.send(group.channel_id, "mine")
        say(backend, group, "bob's")
        assert await texts(connection, 1) == ["bob's"]
    assert backend.asked.count("ListEvents 0 0") == 0


# --- what comes in ----------------------------------------------------------------------------------------------------


async def test_an_event_left_out_is_fetched(backend: Backend, ann: Tidings, group: Log) -> None:
    def deliver(session: FakeSession, event: chat_pb2.Event) -> Iterable[chat_pb2.Event]:
        return [] if event.message.text in ("2", "3") else [event]

    backend.on_deliver = deliver
    async with ann.connect() as connection:
        await connection.until_live()
        say(backend, group, "1", "2", "3", "4", "5")
        assert await texts(connection, 5) == ["1", "2", "3", "4", "5"]
    assert backend.asked == ["ListEvents 0 2"]
    assert len(backend.connects) == 1


async def test_an_event_sent_twice_is_seen_once(backend: Backend, ann: Tidings, group: Log) -> None:
    def deliver(session: FakeSession, event: chat_pb2.Event) -> Iterable[chat_pb2.Event]:
        return [event, event, *group.events]

    backend.on_deliver = deliver
    async with ann.connect() as connection:
        await connection.until_live()
        say(backend, group, "1", "2", "3")
        assert await texts(connection, 3) == ["1", "2", "3"]
        backend.on_deliver = lambda session, event: [event]
        say(backend, group, "4")
        assert await texts(connection, 1) == ["4"]
    assert backend.asked == []


async def test_a_history_that_is_away_delays_what_is_missing_and_loses_nothing(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    backend.on_deliver = lambda session, event: [] if event.message.text == "1" else [event]
    async with ann.connect() as connection:
        await connection.until_live()
        backend.history_error = status("INTERNAL", "the disk of the history is on fire")
        say(backend, group, "1", "2")
        reading = asyncio.create_task(texts(connection, 2))
        await backend.history_asked.wait()
        backend.history_error = None
        # The stream was given up for it; the replay of the next one brings what was missing.
        assert await reading == ["1", "2"]
        assert connection.reconnects == 1
        assert connection.last_error is not None
        assert "on fire" in connection.last_error.message


async def test_a_reset_is_told_and_the_channels_go_on_from_their_heads(
    backend: Backend, address: str, data: Path
) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        # More than one page of channels.
        logs = [backend.channel([ann.user_id, "user-bob"]) for _ in range(5)]
        say(backend, logs[0], "old", "older")
        user_id = ann.user_id
    storage = Storage(data)
    storage.save_progress(ProgressUpdate(5, {"gone": 7, logs[0].channel_id: 1}, anew=False))
    storage.close()
    backend.reset = True
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        await take(connection, "sync_reset")
        await take(connection, "sync_complete")
        assert [message.text for message in await ann.list_messages(logs[0].channel_id)] == ["old", "older"]
        say(backend, logs[0], "new")
        assert await texts(connection, 1) == ["new"]
    # Three pages, and the first one again: a channel may have moved there meanwhile.
    assert backend.asked == ["ListChannels"] * 4
    storage = Storage(data)
    progress = storage.progress()
    storage.close()
    assert progress.seqs == {log.channel_id: 1 for log in logs} | {logs[0].channel_id: 4}
    assert user_id in logs[0].since


async def test_a_slow_application_holds_the_server_back(
    backend: Backend, ann: Tidings, group: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings_client._receive_buffer._MOST_WAITING", 20)
    most_ahead = 0
    async with ann.connect() as connection:
        await connection.until_live()
        for number in range(400):
            backend.say(group, "user-bob", f"{number}")
        seen = []
        async for event in connection:
            if event.HasField("message"):
                seen.append(event.message.text)
                # Time enough for the reader to run ahead, if it could.
                for _ in range(10):
                    await asyncio.sleep(0)
                # Positions are 7 apart.
                most_ahead = max(most_ahead, (connection.cursor - event.position) // 7)
                if len(seen) == 100:
                    # Whoever waits for a result takes no events meanwhile: results must come nonetheless.
                    await connection.send(group.channel_id, "from the slow one")
                    break
        assert most_ahead <= 21
        assert seen == [f"{number}" for number in range(100)]
        rest = await texts(connection, 301)
    assert rest == [*(f"{number}" for number in range(100, 400)), "from the slow one"]


async def test_an_event_that_the_application_failed_on_comes_again(backend: Backend, address: str, data: Path) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id, "user-bob"])
        say(backend, log, "1", "2", "3", "4")
        with pytest.raises(ZeroDivisionError):
            async with ann.connect() as connection:
                async for event in connection:
                    if event.message.text == "3":
                        raise ZeroDivisionError
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        assert await texts(connection, 2) == ["3", "4"]
    # Only from the connection that was left in peace nothing comes again.
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        say(backend, log, "5")
        assert await texts(connection, 1) == ["5"]


_READER = """
import asyncio, sys
from tidings_client import Tidings

async def main():
    async with await Tidings.resume(sys.argv[1]) as ann, ann.connect() as connection:
        async for event in connection:
            if event.HasField("message"):
                print(event.message.text, flush=True)
                if event.message.text == "3":
                    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_after_the_process_was_killed_what_it_had_not_handled_comes_again(
    backend: Backend, address: str, data: Path
) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id, "user-bob"])
    say(backend, log, "1", "2", "3", "4", "5")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READER, str(data), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert [(await process.stdout.readline()).decode().strip() for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(TidingsError, match="open in another process"):
        await Tidings.resume(data)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        again: list[str] = []
        while not again or again[-1] != "5":
            again += await texts(connection, 1)
    # How much of what it had handled was saved already is a matter of a tenth of a second.
    assert again in (["1", "2", "3", "4", "5"], ["2", "3", "4", "5"], ["3", "4", "5"])


async def test_a_state_file_in_use_is_refused_clearly(backend: Backend, address: str, data: Path) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data):
        for attempt in (
            Tidings.resume(data),
            Tidings.log_in(address, "ann", PASSWORD, data=data),
            Tidings.sign_up(address, "bob", PASSWORD, data=data),
        ):
            with pytest.raises(TidingsError, match="is open in another process; give each its own") as refused:
                await attempt
            assert refused.value.reason == "STATE_IN_USE"
    assert list(backend.passwords) == ["ann"], "nothing was asked of the server in vain"


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        # What sqlite3 says to a seq that no log has: it has 64 bits on the wire, and 63 in SQLite.
        OverflowError("Python int too large to convert to SQLite INTEGER"),
    ],
)
async def test_progress_that_cannot_be_saved_ends_the_connection(
    backend: Backend, ann: Tidings, group: Log, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(storage: Storage, step: ProgressUpdate) -> None:
        raise error

    connection: Connection | None = None
    with pytest.raises(type(error), match=str(error)):
        async with ann.connect() as connection:
            await connection.until_live()
            with monkeypatch.context() as patch:
                patch.setattr(Storage, "save_progress", fail)
                async for _ in connection:
                    pass
    assert connection is not None
    assert connection.status is Status.CLOSED


async def test_closing_acknowledges_and_saves_what_was_handled(backend: Backend, address: str, data: Path) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id, "user-bob"])
        say(backend, log, "1", "2", "3")
        async with ann.connect() as connection:
            await connection.until_live()
            session = backend.session_of(ann.device_id)
            assert await texts(connection, 2) == ["1", "2"]
    last = session.received[-1]
    assert last.acknowledge.position == log.events[2].position
    storage = Storage(data)
    assert storage.progress() == Progress(log.events[2].position, {log.channel_id: 3})
    storage.close()


# --- the stream -------------------------------------------------------------------------------------------------------


async def test_a_token_refused_at_connecting_is_renewed_and_the_next_attempt_goes_through(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    # Many times, because a write that fails at the wrong moment may hide the status from whoever asks grpc too late.
    for number in range(30):
        refuse = Once()
        backend.on_connect = lambda _, refuse=refuse: (  # type: ignore[misc]
            status("UNAUTHENTICATED", reason="TOKEN_EXPIRED") if refuse() else None
        )
        backend.connects.clear()
        async with ann.connect() as connection:
            await connection.until_live()
            assert connection.last_error is not None
            assert connection.last_error.reason == "TOKEN_EXPIRED"
        assert len(backend.connects) == 2
        assert backend.refreshes == number + 1


async def test_a_token_refused_in_the_middle_of_writing(backend: Backend, ann: Tidings, group: Log) -> None:
    count = 0

    def command(session: FakeSession, command: chat_pb2.Command) -> None:
        nonlocal count
        count += 1
        if count == 50:
            session.end(no("UNAUTHENTICATED", reason="TOKEN_EXPIRED"))

    backend.on_command = command
    async with ann.connect(max_in_flight=8) as connection:
        await asyncio.gather(*(connection.send(group.channel_id, f"{number}") for number in range(100)))
    assert backend.refreshes == 1
    assert len(group.events) == 101


async def test_new_tokens_that_are_lost_on_the_way_are_asked_for_again(
    backend: Backend, address: str, data: Path
) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        keeper = ann._api.keeper
        first = keeper.access_token
        # gRPC itself asks four times; after that it is up to whoever needs a token.
        backend.lost_answers = 5
        with pytest.raises(TidingsError, match="lost"):
            await keeper.renew(first)
        assert backend.refreshes == 4
    # The device comes back after its process has ended, with what it had.
    async with await Tidings.resume(data) as ann:
        keeper = ann._api.keeper
        assert keeper.access_token == first
        second = await keeper.renew(first)
        assert (second != first, backend.refreshes, backend.lost_answers) == (True, 6, 0)
        third = await keeper.renew(second)
        assert third not in (first, second)
        assert len(backend.answers) == 2


async def test_a_refresh_token_that_is_refused_signs_out(backend: Backend, address: str, data: Path) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id, "user-bob"])
        async with ann.connect() as connection:
            await connection.until_live()
            backend.on_commit = lambda session, command: False
            unanswered = asyncio.create_task(connection.send(log.channel_id, "hello"))
            await take(connection, "sync_complete")
            backend.revoked.add(ann.device_id)
            backend.session_of(ann.device_id).end(no("UNAUTHENTICATED", reason="DEVICE_REVOKED"))
            with pytest.raises(SignedOutError):
                await anext(connection)
            for attempt in (unanswered, connection.send(log.channel_id, "later"), connection.until_live()):
                with pytest.raises(SignedOutError):
                    await attempt
            assert connection.status is Status.CLOSED
        with pytest.raises(SignedOutError):
            await ann.get_user(ann.user_id)
    with pytest.raises(SignedOutError, match="log in"):
        await Tidings.resume(data)


async def test_a_server_that_takes_no_token_at_all_signs_out(backend: Backend, ann: Tidings) -> None:
    backend.on_connect = lambda _: status("UNAUTHENTICATED", "not yours", reason="TOKEN_INVALID")
    async with ann.connect() as connection:
        with pytest.raises(SignedOutError, match="not yours"):
            await connection.until_live()
    assert backend.refreshes == 1


async def test_a_newer_stream_of_the_same_device_ends_this_one(
    backend: Backend, ann: Tidings, group: Log, tmp_path: Path
) -> None:
    async with ann.connect() as connection:
        await connection.until_live()
        # In the middle of writing, when grpc likes to hide the reason.
        session = backend.session_of(ann.device_id)
        backend.on_commit = lambda session, command: False
        sends = [asyncio.create_task(connection.send(group.channel_id, f"{number}")) for number in range(50)]
        session.end(no("ABORTED", "replaced", reason="SESSION_REPLACED"))
        with pytest.raises(ReplacedError, match="replaced"):
            async for _ in connection:
                pass
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ReplacedError}
        assert len({id(outcome) for outcome in outcomes}) == 50, "each has one of its own"
    assert len(backend.connects) == 1, "it did not come back to end the newer one in turn"


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "INVALID_ARGUMENT", "PERMISSION_DENIED"])
async def test_what_no_later_attempt_can_change_ends_the_connection(backend: Backend, ann: Tidings, code: str) -> None:
    backend.on_connect = lambda _: status(code, "never")
    async with ann.connect() as connection:
        with pytest.raises(TidingsError, match="never"):
            await anext(connection)
    assert len(backend.connects) == 1


async def test_a_cursor_from_the_future_starts_over(backend: Backend, address: str, data: Path) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id, "user-bob"])
        say(backend, log, "1", "2")
    storage = Storage(data)
    storage.save_progress(ProgressUpdate(1 << 60, {log.channel_id: 2}, anew=False))
    storage.close()
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        # Under a seq that came before there may be another event now, so the application rebuilds.
        await take(connection, "sync_reset")
        await take(connection, "sync_complete")
        say(backend, log, "3")
        assert await texts(connection, 1) == ["3"]
    assert backend.hellos == [1 << 60, 0]
    storage = Storage(data)
    assert storage.progress() == Progress(log.events[-1].position, {log.channel_id: 4})
    storage.close()


async def test_a_draining_server_is_left_for_another(backend: Backend) -> None:
    async with (
        serve(backend) as (first, _),
        serve(backend) as (second, _),
        await Tidings.sign_up(first, "ann", PASSWORD) as ann,
    ):
        log = backend.channel([ann.user_id, "user-bob"])
        watch = Watch()
        async with ann.connect(on_status=watch) as connection:
            await connection.until_live()
            assert connection.server is not None
            assert connection.server.endpoint == first
            backend.draining.add(first)
            refuge = discovery_pb2.Server(server_id="server-1", endpoint=second)
            notice = chat_pb2.ServerNotice(kind=chat_pb2.ServerNotice.KIND_DRAINING, servers=[refuge])
            backend.session_of(ann.device_id).send(chat_pb2.Event(server_notice=notice))
            say(backend, log, "1")
            await watch.until_live(2)
            await connection.send(log.channel_id, "2")
            assert connection.server.endpoint == second
            assert await texts(connection, 2) == ["1", "2"]
        assert backend.connects == [first, second]


async def test_a_server_that_is_gone_is_left_for_another(backend: Backend) -> None:
    async with (
        serve(backend) as (first, server),
        serve(backend) as (second, _),
        await Tidings.sign_up(first, "ann", PASSWORD) as ann,
    ):
        log = backend.channel([ann.user_id, "user-bob"])
        async with ann.connect() as connection:
            await connection.until_live()
            await server.stop(None)
            await connection.send(log.channel_id, "still here")
            assert connection.server is not None
            assert connection.server.endpoint == second


async def test_a_server_that_says_nothing_is_not_waited_for(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._stream_runner._WELCOME_SECONDS", 0.2)
    # The system makes connections to it, which nobody takes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_address = "{}:{}".format(*silent.getsockname())
        async with serve(backend) as (address, _):
            backend.addresses.insert(0, silent_address)
            async with await Tidings.sign_up(address, "ann", PASSWORD) as ann:
                assert [server.endpoint for server in ann.servers] == [silent_address, address]
                async with ann.connect() as connection:
                    await connection.until_live()
                    assert connection.server is not None
                    assert connection.server.endpoint == address
                    assert connection.last_error is not None
                    assert connection.last_error.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert backend.excluded == [["server-0"]], "discovery is told which one it was"


async def test_a_token_is_replaced_before_it_runs_out_without_a_break(
    backend: Backend, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.token_seconds = 2.0
    told: asyncio.Queue[str] = asyncio.Queue()

    def command(session: FakeSession, command: chat_pb2.Command) -> None:
        if command.HasField("reauthenticate"):
            told.put_nowait(command.reauthenticate.access_token)

    backend.on_command = command
    async with await Tidings.sign_up(address, "ann", PASSWORD) as ann, ann.connect() as connection:
        await connection.until_live()
        first, second = await told.get(), await told.get()
        assert first != second
        assert connection.reconnects == 0
    assert len(backend.connects) == 1


async def test_a_server_that_asks_for_a_newer_token_gets_one(backend: Backend, ann: Tidings) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    backend.on_command = lambda session, command: told.put_nowait(command.reauthenticate.access_token)
    notice = chat_pb2.ServerNotice(kind=chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING)
    async with ann.connect() as connection:
        await connection.until_live()
        backend.session_of(ann.device_id).send(chat_pb2.Event(server_notice=notice))
        assert backend.identify_token(await told.get()) == (ann.device_id, ann.user_id)
    assert (backend.refreshes, len(backend.connects)) == (1, 1)


async def test_a_newer_token_that_is_refused_costs_a_reconnect_and_no_more(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    backend.on_command = lambda session, command: (
        status("UNAUTHENTICATED", "not this one") if command.HasField("reauthenticate") else None
    )
    notice = chat_pb2.ServerNotice(kind=chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING)
    watch = Watch()
    async with ann.connect(on_status=watch) as connection:
        await connection.until_live()
        backend.session_of(ann.device_id).send(chat_pb2.Event(server_notice=notice))
        await watch.until_live(2)
        assert (await connection.send(group.channel_id, "still here")).seq == 2
        assert connection.last_error is not None
        assert "not this one" in connection.last_error.message


async def test_how_it_is_doing_is_told(backend: Backend, ann: Tidings, group: Log) -> None:
    watch = Watch()
    async with ann.connect(on_status=watch) as connection:
        assert connection.status is Status.CONNECTING
        await connection.until_live()
        assert (connection.status, connection.reconnects, connection.last_error) == (Status.LIVE, 0, None)
        connection.reconnect()
        await watch.until_live(2)
        assert (connection.reconnects, connection.last_error) == (1, None)
        backend.session_of(ann.device_id).end(no("UNAVAILABLE", "tripped over the cable"))
        await watch.until_live(3)
        assert connection.reconnects == 2
        assert str(connection.last_error) == "UNAVAILABLE: tripped over the cable"
        assert connection.cursor == backend.head()
    again = [Status.CONNECTING, Status.LIVE]
    assert watch.seen == [Status.LIVE, *again, *again, Status.CONNECTING, Status.CLOSED]


# --- how it is used ---------------------------------------------------------------------------------------------------


async def test_one_connection_at_a_time_and_one_after_another(ann: Tidings, group: Log) -> None:
    async with ann.connect() as connection:
        with pytest.raises(RuntimeError, match="one stream"):
            async with ann.connect():
                pass
        await connection.until_live()
    async with ann.connect() as connection:
        await connection.until_live()


async def test_one_task_iterates_and_closing_ends_its_loop(ann: Tidings, group: Log) -> None:
    async def iterate(connection: Connection) -> list[chat_pb2.Event]:
        return [event async for event in connection]

    async with ann.connect() as connection:
        await connection.send(group.channel_id, "hello")
        iterating = asyncio.create_task(iterate(connection))
        # It has taken what there was, and waits.
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(connection)
    assert [event.message.text for event in await iterating if event.HasField("message")] == ["hello"]


async def test_after_it_is_closed_nothing_goes_over_it(backend: Backend, ann: Tidings, group: Log) -> None:
    backend.on_commit = lambda session, command: False
    async with ann.connect() as connection:
        await connection.until_live()
        unanswered = asyncio.create_task(connection.send(group.channel_id, "no result"))
        await take(connection, "sync_complete")
    for attempt in (unanswered, connection.send(group.channel_id, "late"), connection.set_typing(group.channel_id)):
        with pytest.raises(TidingsError) as closed:
            await attempt
        assert closed.value.reason == "CONNECTION_CLOSED"
    with pytest.raises(StopAsyncIteration):
        await anext(connection)
    assert connection.status is Status.CLOSED


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_is_a_day_off_locks_nobody_out(
    backend: Backend, address: str, data: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    off = SimpleNamespace(time=lambda: time.time() + days * 86_400.0, monotonic=time.monotonic)
    monkeypatch.setattr("tidings_client._tokens.time", off)
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id])
        refreshes = backend.refreshes
        await ann.list_channels()
        assert backend.refreshes == refreshes, "a new token is good for as long as the server says"
    # Found on the disk, by a clock that is off, it is renewed too early or too late, and does its work.
    backend.token_seconds = -1.0
    async with await Tidings.resume(data) as ann:
        ann._api.keeper.replace(backend.tokens(ann.device_id))
    backend.token_seconds = 900.0
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        assert (await connection.send(log.channel_id, "here")).seq == 2
        assert len(await ann.list_channels()) == 1


async def test_a_proxy_that_wants_a_sign_in_of_its_own_costs_nobody_theirs(
    backend: Backend, address: str, data: Path
) -> None:
    async with await Tidings.sign_up(address, "ann", PASSWORD, data=data) as ann:
        log = backend.channel([ann.user_id])
        # HTTP status 401 from something between becomes UNAUTHENTICATED, without any details.
        backend.refresh_error = status("UNAUTHENTICATED", "Received http2 header with status: 401")
        with pytest.raises(TidingsError) as refused:
            await ann._api.keeper.renew(ann._api.keeper.access_token)
        assert not isinstance(refused.value, SignedOutError)
    backend.refresh_error = None
    async with await Tidings.resume(data) as ann, ann.connect() as connection:
        assert (await connection.send(log.channel_id, "here")).seq == 2


async def test_an_error_whose_details_are_mangled_ends_no_connection(
    backend: Backend, ann: Tidings, group: Log
) -> None:
    mangled = status_pb2.Status(code=9, message="no")
    mangled.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    backend.on_command = lambda session, command: mangled if command.send_message.text == "bad" else None
    async with ann.connect() as connection:
        with pytest.raises(TidingsError, match="no"):
            await connection.send(group.channel_id, "bad")
        await connection.send(group.channel_id, "good")
        assert connection.reconnects == 0


def test_tokens_are_in_no_repr(ann: Tidings) -> None:
    device = ann._api.device
    assert device.tokens is not None
    for secret in (device.tokens.access_token, device.tokens.refresh_token):
        assert secret not in repr([ann, ann._api, device, ann._api.keeper])
