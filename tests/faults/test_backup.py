"""A copy of the data is taken while the server is busy, and the server is set back to it."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.crowd import Member, crowd, in_log, whole_log
from tests.support.processes import ServerProcess, run_tidings
from tests.support.settings import UNLIMITED
from tests.support.waiting import eventually
from tidings.v1 import chat_pb2

_BUSY = 200
"""Messages accepted before something is done to the server."""


async def backup(folder: Path, to: Path) -> tuple[int, str]:
    """Runs `tidings backup`; gives its exit code and what it says."""
    ended = await run_tidings("backup", to, "--data", folder)
    return ended.code, ended.out + ended.err


class Reader:
    """An application that keeps the log of a group on its screen: it rebuilds when it is told to."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.resets = 0
        self.shown: list[chat_pb2.Event] = []

    async def listen(self) -> None:
        """As `Member.listen`, in its place."""
        async for event in self.member.connection:
            place = in_log(event)
            if event.HasField("sync_reset"):
                self.resets += 1
                self.shown = await whole_log(self.member.client, self.member.channel_id)
            elif place is not None and place[0] == self.member.channel_id and place[1] > self._shown_seq():
                self.shown.append(event)

    def _shown_seq(self) -> int:
        """How far the screen goes: what came while it was rebuilt is on it already."""
        return in_log(self.shown[-1])[1] if self.shown else 0  # type: ignore[index]


async def _talk(member: Member, name: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await member.say(f"{name}-{number}")


def accepted(members: list[Member]) -> dict[str, chat_pb2.Accepted]:
    return {name: result for member in members for name, result in member.accepted.items()}


async def test_a_copy_taken_under_load_is_restored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, readers = tmp_path / "copy", []

    def listen(member: Member) -> object:
        readers.append(Reader(member))
        return readers[-1].listen()

    monkeypatch.setattr(Member, "listen", listen)
    async with ServerProcess(folder, config=UNLIMITED) as server, crowd(server.endpoint, folder, people=3) as members:

        async def busy(more: int) -> None:
            before = len(accepted(members))
            await eventually(lambda: _holds(len(accepted(members)) >= before + more))

        stop = asyncio.Event()
        talkers = [asyncio.create_task(_talk(each, f"device{n}", stop)) for n, each in enumerate(members)]
        await busy(_BUSY)
        kept, since = accepted(members), datetime.now(UTC)
        code, said = await backup(folder, copy)
        assert (code, said) == (0, f"the copy of {folder} is {copy}\n")
        # Nobody was kept waiting, and what comes now is not in the copy.
        await busy(_BUSY)
        stop.set()
        await asyncio.gather(*talkers)
        lost = accepted(members).keys() - kept.keys()
        await server.kill()

        lost_between = f"restored = [{{ since = {since.isoformat()}, until = {datetime.now(UTC).isoformat()} }}]"
        async with ServerProcess(copy, config=f"{lost_between}\n{UNLIMITED}", listen=server.endpoint):
            # From now on there is something later than what was lost, and who comes next has still to begin again.
            await members[0].say("first")
            await eventually(lambda: _holds(all(reader.resets == 1 for reader in readers)))
            log = await whole_log(members[0].client, members[0].channel_id)
            names = {event.message.client_message_id: event.message for event in log if event.HasField("message")}
            assert names.keys() >= kept.keys(), "what was accepted before the copy is lost"
            for name, result in kept.items():
                assert (names[name].seq, names[name].position) == (result.seq, result.position)
            assert lost - names.keys(), "the copy was to be older than what the devices have seen"
            # The seqs of what was lost are given again, and everybody sees what is under them now.
            await asyncio.gather(*(each.say(f"after-{n}") for n, each in enumerate(members)))
            log = await whole_log(members[0].client, members[0].channel_id)
            assert [in_log(event)[1] for event in log] == list(range(1, len(log) + 1))  # type: ignore[index]
            await eventually(lambda: _holds(all(reader.shown == log for reader in readers)))


async def _holds(value: bool) -> bool:
    return value


async def test_a_copy_is_as_private_as_the_data_and_replaces_nothing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with ServerProcess(folder):
        assert (await backup(folder, copy))[0] == 0
        assert await backup(folder, copy) == (1, f"tidings: {copy} is not empty\n")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in copy.iterdir()} == {
        "tidings.db": 0o600,
        "token-key.pem": 0o600,
    }


async def test_where_there_is_no_data_there_is_no_copy(tmp_path: Path) -> None:
    code, said = await backup(tmp_path / "nothing", tmp_path / "copy")
    assert code == 1
    assert said.startswith(f"tidings: the database in {tmp_path / 'nothing'} cannot be copied: ")
    assert list((tmp_path / "copy").iterdir()) == []
