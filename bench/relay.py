"""The ceiling: a bare grpc.aio relay that speaks just enough of the contract for the load generator.

It signs everyone in, numbers each channel's messages and passes them on, with the two things that a fast server of this
kind does (paced writes, events encoded once) and nothing else: no storage, no passwords, no tokens that prove anything,
no limits, no receipts, no replay. What it reaches is what grpc.aio can do here.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from tidings.v1 import account_pb2, channel_pb2, chat_pb2

# The least seconds between two frames of a session: what happens meanwhile goes with the next one.
PACE = 0.005


def framed(event: chat_pb2.Event) -> bytes:
    """An Event as an encoded ConverseResponse; joined, they are one with all their events."""
    return chat_pb2.ConverseResponse(events=[event]).SerializeToString()


class Stream:
    """One stream: what waits to be written, and when that was done last."""

    def __init__(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        """A session of a stream that has just begun."""
        self._context = context
        self._waiting: list[bytes] = []
        self._wake = asyncio.Event()

    def send(self, frame: bytes) -> None:
        """Lets an encoded frame go with the next write."""
        self._waiting.append(frame)
        self._wake.set()

    async def write(self) -> None:
        """Writes what waits, for as long as the stream lasts."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            frames, self._waiting = self._waiting, []
            await self._context.write(b"".join(frames))
            # From the end of one write to the next: a busy loop then writes less often instead of falling behind.
            await asyncio.sleep(PACE)


class Room:
    """A channel: who is in it, and how many messages it has had."""

    def __init__(self, channel_id: str, members: tuple[str, ...]) -> None:
        """A channel without a message."""
        self.channel_id = channel_id
        self.members = members
        self.seq = 0


class Relay:
    """The services that the load generator calls, in memory. A user's id is the user's name, and so is the token."""

    def __init__(self) -> None:
        """Nobody is here."""
        self._sessions: dict[str, set[Stream]] = {}
        self._rooms: dict[str, Room] = {}
        self._positions = itertools.count(1)
        self._devices = itertools.count(1)

    def serve(self, server: aio.Server) -> None:
        """Adds the services to a server."""
        account, channel = account_pb2, channel_pb2
        unary = (
            ("AccountService", "SignUp", self._sign_in, account.SignUpRequest),
            ("AccountService", "LogIn", self._sign_in, account.LogInRequest),
            ("ChannelService", "OpenDirectChannel", self._open_direct, channel.OpenDirectChannelRequest),
            ("ChannelService", "CreateGroup", self._create_group, channel.CreateGroupRequest),
        )
        for service, name, method, request in unary:
            handler = grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=request.FromString, response_serializer=methodcaller("SerializeToString")
            )
            add(server, service, name, handler)
        # Bytes in, bytes out.
        add(server, "ChatService", "Converse", grpc.stream_stream_rpc_method_handler(self._connect))

    async def _sign_in(
        self, request: account_pb2.SignUpRequest | account_pb2.LogInRequest, context: aio.ServicerContext[Any, Any]
    ) -> account_pb2.SignUpResponse:
        # LogInResponse numbers its fields alike.
        name = request.username
        return account_pb2.SignUpResponse(
            user=account_pb2.User(user_id=name, username=name),
            device_id=f"{next(self._devices)}",
            tokens=account_pb2.Tokens(access_token=name),
        )

    async def _open_direct(
        self, request: channel_pb2.OpenDirectChannelRequest, context: aio.ServicerContext[Any, Any]
    ) -> channel_pb2.OpenDirectChannelResponse:
        room = self._room(caller(context), request.user_id)
        return channel_pb2.OpenDirectChannelResponse(channel=channel_pb2.Channel(channel_id=room.channel_id))

    async def _create_group(
        self, request: channel_pb2.CreateGroupRequest, context: aio.ServicerContext[Any, Any]
    ) -> channel_pb2.CreateGroupResponse:
        room = self._room(caller(context), *request.member_ids)
        return channel_pb2.CreateGroupResponse(channel=channel_pb2.Channel(channel_id=room.channel_id))

    def _room(self, *members: str) -> Room:
        room = Room(f"channel-{len(self._rooms)}", members)
        self._rooms[room.channel_id] = room
        return room

    async def _connect(self, requests: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        user_id = caller(context)
        session = Stream(context)
        mine = self._sessions.setdefault(user_id, set())
        mine.add(session)
        writer = asyncio.create_task(session.write())
        try:
            while True:
                frame = await context.read()
                if not isinstance(frame, bytes):
                    return
                for command in chat_pb2.ConverseRequest.FromString(frame).commands:
                    self._obey(user_id, session, command)
        finally:
            writer.cancel()
            mine.discard(session)

    def _obey(self, user_id: str, session: Stream, command: chat_pb2.Command) -> None:
        if command.HasField("send_message"):
            self._send(user_id, session, command.command_id, command.send_message)
        elif command.HasField("hello"):
            session.send(framed(chat_pb2.Event(welcome=chat_pb2.Welcome(session_id=user_id, server_id="relay"))))
            session.send(framed(chat_pb2.Event(sync_complete=chat_pb2.SyncComplete())))

    def _send(self, user_id: str, origin: Stream, command_id: int, message: chat_pb2.SendMessage) -> None:
        room = self._rooms[message.channel_id]
        room.seq += 1
        position = next(self._positions)
        created_at = Timestamp()
        created_at.GetCurrentTime()
        accepted = chat_pb2.Accepted(channel_id=room.channel_id, seq=room.seq, position=position, created_at=created_at)
        result = chat_pb2.CommandResult(command_id=command_id, accepted=accepted)
        origin.send(framed(chat_pb2.Event(position=position, command_result=result)))
        entry = chat_pb2.Message(
            channel_id=room.channel_id,
            seq=room.seq,
            position=position,
            sender_id=user_id,
            client_message_id=message.client_message_id,
            text=message.text,
            created_at=created_at,
        )
        self.deliver(room, framed(chat_pb2.Event(position=position, message=entry)), origin)

    def deliver(self, room: Room, frame: bytes, origin: Stream) -> None:
        """Passes a framed event to every session of a channel's members but the one that it came from."""
        for member in room.members:
            for session in self._sessions.get(member, ()):
                if session is not origin:
                    session.send(frame)


def add(server: aio.Server, service: str, name: str, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
    """Adds one method to a server."""
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"tidings.v1.{service}", {name: handler}),))


def caller(context: aio.ServicerContext[Any, Any]) -> str:
    """Who calls, by what the load generator sends as its token."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            return value.removeprefix("Bearer ")
    return ""


async def serve(listen: str, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        listen: HOST:PORT; port 0 takes a free one.
        announce: Called with the HOST:PORT that is listened on.
    """
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    Relay().serve(server)
    port = server.add_insecure_port(listen)
    await server.start()
    announce(f"{listen.rpartition(':')[0]}:{port}")
    stopped = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    await stopped.wait()
    await server.stop(None)


def main() -> None:
    """Says where it listens, as a tidings server does, and serves."""
    parser = argparse.ArgumentParser(description="A bare relay to compare with.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    listen = parser.parse_args().listen
    asyncio.run(serve(listen, lambda address: print(f"listening on {address}", flush=True)))


if __name__ == "__main__":
    main()
