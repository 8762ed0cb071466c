"""People with several devices each, on the SDK, who write to a group and keep their own copies of its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.raw import PASSWORD
from tidings.v1 import chat_pb2
from tidings_client import Connection, Tidings
from tidings_client._receive_buffer import LOG_KINDS


def in_log(event: chat_pb2.Event) -> tuple[str, int] | None:
    """The channel and seq of an event that is an entry of a log."""
    kind = event.WhichOneof("body")
    if kind not in LOG_KINDS:
        return None
    body = getattr(event, kind)
    return body.channel_id, body.seq


@dataclass(eq=False)
class Member:
    """One device: what it was told is accepted, and its copy of the group's log."""

    client: Tidings
    connection: Connection
    channel_id: str = ""
    copy: list[chat_pb2.Event] = field(default_factory=list)
    accepted: dict[str, chat_pb2.Accepted] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        async for event in self.connection:
            place = in_log(event)
            if place is not None and place[0] == self.channel_id:
                self.copy.append(event)
                self.grown.set()

    async def say(self, name: str) -> None:
        """Sends a message until it is accepted, whatever happens meanwhile."""
        self.accepted[name] = await self.connection.send(self.channel_id, f"text of {name}", client_message_id=name)

    async def until(self, seq: int) -> None:
        """Waits until the copy reaches a seq."""
        while not self.copy or in_log(self.copy[-1])[1] < seq:  # type: ignore[index]
            self.grown.clear()
            await self.grown.wait()


@asynccontextmanager
async def crowd(endpoint: str, folder: Path, people: int, devices_each: int = 2) -> AsyncIterator[list[Member]]:
    """Signs people up, puts them in one group and connects all their devices."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    members: list[Member] = []
    listeners: list[asyncio.Task[None]] = []
    async with asyncio.timeout(60):
        clients = []
        for person in range(people):
            for device in range(devices_each):
                data = folder / f"device-{person}-{device}"
                name = f"person{person}-{folder.name}".lower().replace("_", "-")[:32]
                sign_in = Tidings.sign_up if device == 0 else Tidings.log_in
                clients.append(await sign_in(endpoint, name, PASSWORD, data=data))
        group = await clients[0].create_group("crowd", sorted({each.user_id for each in clients[devices_each:]}))
    connects = [client.connect() for client in clients]
    for client, connect in zip(clients, connects, strict=True):
        members.append(Member(client, await connect.__aenter__(), group.channel_id))
    listeners = [asyncio.create_task(member.listen()) for member in members]
    try:
        yield members
    finally:
        for connect in connects:
            await connect.__aexit__(None, None, None)
        await asyncio.gather(*listeners)
        for client in clients:
            await client.close()


async def whole_log(client: Tidings, channel_id: str) -> list[chat_pb2.Event]:
    """The log as history has it."""
    log: list[chat_pb2.Event] = []
    while page := await client.list_events(channel_id, after_seq=len(log), page_size=200):
        log.extend(page)
    return log


def check(log: Sequence[chat_pb2.Event], members: Sequence[Member]) -> None:
    """Nothing lost, doubled or out of order; every copy is the log."""
    assert [in_log(event)[1] for event in log] == list(range(1, len(log) + 1))  # type: ignore[index]
    messages = {event.message.client_message_id: event.message for event in log if event.HasField("message")}
    assert len(messages) == sum(event.HasField("message") for event in log), "a message is in the log twice"
    accepted = {name: result for member in members for name, result in member.accepted.items()}
    assert messages.keys() >= accepted.keys(), "an accepted message is lost"
    for name, result in accepted.items():
        assert (messages[name].seq, messages[name].position) == (result.seq, result.position)
    for member in members:
        assert member.copy == list(log)
