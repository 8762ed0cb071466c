"""Who is woken: a message, the delay, and a line in the log of a server whose only provider writes there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.processes import ServerProcess
from tests.support.raw import Api, Device
from tests.support.settings import CHEAP_SIGN_UPS
from tests.support.waiting import eventually
from tidings.v1 import chat_pb2, push_pb2


async def _with_token(device: Device) -> Device:
    request = push_pb2.RegisterPushTokenRequest(provider=push_pb2.PUSH_PROVIDER_LOG, token="a secret")
    await device.api.pushes.RegisterPushToken(request, metadata=device.metadata)
    return device


def _undecided(data: Path) -> int:
    with closing(sqlite3.connect(f"file:{data / 'tidings.db'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM pending_push").fetchone()[0])


async def test_who_is_connected_but_acknowledges_nothing_is_woken_and_who_acknowledges_is_not(folder: Path) -> None:
    server = await ServerProcess(folder, config=f"push_delay_seconds = 1\n{CHEAP_SIGN_UPS}").start()
    api = Api(server.endpoint)
    ann, bob, cid = [await _with_token(await api.sign_up(name)) for name in ("ann", "bob", "cid")]
    group = await ann.group(bob, cid)
    async with ann.stream() as a, bob.stream() as b, cid.stream() as c:
        assert (await a.send(group.channel_id, "the text")).HasField("accepted")
        message = await c.next("message")
        assert (await c.ask(acknowledge=chat_pb2.Acknowledge(position=message.position))).HasField("accepted")
        # On bob's side it has arrived too, as far as TCP can tell.
        assert (await b.next("message")).seq == message.seq
        assert _undecided(folder) == 1

        async def is_decided() -> bool:
            return _undecided(folder) == 0

        # The channel is asleep once everybody has acknowledged, or all that there is has been decided about.
        await eventually(is_decided)
    await api.close()
    code, log = await server.terminate()
    assert code == 0
    pushes = [line.partition("push: ")[2] for line in log.splitlines() if "push: " in line]
    assert pushes == [f"user {bob.user_id}, channel {group.channel_id}, message {message.seq} from user {ann.user_id}"]
    assert "the text" not in log and "a secret" not in log
