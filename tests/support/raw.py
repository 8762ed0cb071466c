"""Devices on the bare stubs: what tests use where the SDK would hide what they are about."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    channel_pb2_grpc,
    chat_pb2,
    chat_pb2_grpc,
    contact_pb2_grpc,
    discovery_pb2,
    discovery_pb2_grpc,
    history_pb2_grpc,
    presence_pb2_grpc,
    push_pb2_grpc,
)

_numbers = itertools.count(1)
PASSWORD = "correct horse battery"


class Api:
    """Where people sign in, and the servers that they are told of there.

    Chat and presence are served at this address when one process serves everything, and by others in a mesh: so they
    are dialled where it says.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._dialled: dict[str, aio.Channel] = {}
        self.channel = channel = self.dial(endpoint)
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.contacts = contact_pb2_grpc.ContactServiceStub(channel)
        self.channels = channel_pb2_grpc.ChannelServiceStub(channel)
        self.history = history_pb2_grpc.HistoryServiceStub(channel)
        self.pushes = push_pb2_grpc.PushServiceStub(channel)
        self.discovery = discovery_pb2_grpc.DiscoveryServiceStub(channel)

    def dial(self, endpoint: str = "") -> aio.Channel:
        """The connection to a server; to where one signs in when it is not told where."""
        endpoint = endpoint or self.endpoint
        if endpoint not in self._dialled:
            self._dialled[endpoint] = aio.insecure_channel(
                endpoint, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
            )
        return self._dialled[endpoint]

    async def close(self) -> None:
        """Ends all connections."""
        for channel in self._dialled.values():
            await channel.close()

    async def sign_up(self, name: str = "user") -> Device:
        username = f"{name}-{next(_numbers)}"
        answer = await self.accounts.SignUp(
            account_pb2.SignUpRequest(username=username, password=PASSWORD, device_name="test")
        )
        return Device(self, answer)

    async def log_in(self, username: str, device_id: str = "") -> Device:
        answer = await self.accounts.LogIn(
            account_pb2.LogInRequest(username=username, password=PASSWORD, device_id=device_id, device_name="another")
        )
        return Device(self, answer)

    async def presence_servers(self) -> Sequence[discovery_pb2.Server]:
        """The servers that know who is online, best first."""
        request = discovery_pb2.RecommendServersRequest(kind=discovery_pb2.SERVER_KIND_PRESENCE)
        answer = await self.discovery.RecommendServers(request)
        return list(answer.servers)

    async def presence(self) -> presence_pb2_grpc.PresenceServiceStub:
        """Any of them."""
        return presence_pb2_grpc.PresenceServiceStub(self.dial(random.choice(await self.presence_servers()).endpoint))


class Device:
    """A signed-in device."""

    def __init__(self, api: Api, answer: account_pb2.SignUpResponse | account_pb2.LogInResponse) -> None:
        self.api = api
        self.user = answer.user
        self.user_id = answer.user.user_id
        self.device_id = answer.device_id
        self.tokens = answer.tokens
        self.servers: Sequence[discovery_pb2.Server] = list(answer.servers)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.tokens.access_token}"),)

    @property
    def chat_channel(self) -> aio.Channel:
        """The connection to any of the chat servers that it was told of: another one each time, perhaps."""
        return self.api.dial(random.choice([server.endpoint for server in self.servers] or [""]))

    async def direct(self, other: Device) -> channel_pb2.Channel:
        answer = await self.api.channels.OpenDirectChannel(
            channel_pb2.OpenDirectChannelRequest(user_id=other.user_id), metadata=self.metadata
        )
        return answer.channel

    async def group(self, *others: Device, title: str = "a group") -> channel_pb2.Channel:
        answer = await self.api.channels.CreateGroup(
            channel_pb2.CreateGroupRequest(title=title, member_ids=[each.user_id for each in others]),
            metadata=self.metadata,
        )
        return answer.channel

    @asynccontextmanager
    async def stream(self, cursor: int = 0) -> AsyncIterator[Stream]:
        """A stream whose replay is over; what was replayed is in `replayed`."""
        stream = Stream(self.open())
        try:
            await stream.hello(cursor)
            yield stream
        finally:
            stream.call.cancel()

    def open(self) -> Any:
        """A stream on which nothing has been said."""
        return chat_pb2_grpc.ChatServiceStub(self.chat_channel).Converse(metadata=self.metadata)


class Stream:
    """A stream, event by event."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.replayed: list[chat_pb2.Event] = []
        self.welcome = chat_pb2.Welcome()
        self._waiting: list[chat_pb2.Event] = []
        self._last_id = 0

    async def hello(self, cursor: int = 0) -> None:
        await self.write(chat_pb2.Command(hello=chat_pb2.Hello(cursor=cursor)))
        first = await self.event()
        assert first.HasField("welcome"), first
        self.welcome = first.welcome
        while not (event := await self.event()).HasField("sync_complete"):
            self.replayed.append(event)

    async def write(self, *commands: chat_pb2.Command) -> None:
        await self.call.write(chat_pb2.ConverseRequest(commands=commands))

    async def event(self) -> chat_pb2.Event:
        """The next event, of whatever kind."""
        while not self._waiting:
            frame = await self.call.read()
            if frame is aio.EOF:
                raise EndedError(await self.call.code(), await self.call.details())
            self._waiting = list(frame.events)
        return self._waiting.pop(0)

    async def next(self, kind: str) -> Any:
        """The body of the next event of a kind; others before it are passed over."""
        while True:
            event = await self.event()
            if event.WhichOneof("body") == kind:
                return getattr(event, kind)

    async def ask(self, **body: Any) -> chat_pb2.CommandResult:
        """Asks for something, and gives its result; events before it are passed over."""
        self._last_id += 1
        await self.write(chat_pb2.Command(command_id=self._last_id, **body))
        while True:
            result: chat_pb2.CommandResult = await self.next("command_result")
            if result.command_id == self._last_id:
                return result

    async def send(self, channel_id: str, text: str, name: str = "") -> chat_pb2.CommandResult:
        return await self.ask(
            send_message=chat_pb2.SendMessage(
                client_message_id=name or f"m{next(_numbers)}", channel_id=channel_id, text=text
            )
        )


class EndedError(Exception):
    """The server ended the stream without a word."""


async def end_of(call: Any) -> aio.AioRpcError:
    """Reads a stream to its end, and gives the error that it ended with."""
    try:
        while await call.read() is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return error
    raise AssertionError("the stream ended well")


def details_of(error: aio.AioRpcError | status_pb2.Status) -> Details:
    """The google.rpc details of a failed call or of a command's error."""
    if isinstance(error, status_pb2.Status):
        return Details(error.details)
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return Details(status_pb2.Status.FromString(value).details)
    raise AssertionError(f"no details: {error}")


class Details:
    """google.rpc details, by their types."""

    def __init__(self, details: Iterable[any_pb2.Any]) -> None:
        self.info = error_details_pb2.ErrorInfo()
        self.bad_request = error_details_pb2.BadRequest()
        self.retry: error_details_pb2.RetryInfo | None = None
        for packed in details:
            if not packed.Unpack(self.info) and not packed.Unpack(self.bad_request):
                self.retry = error_details_pb2.RetryInfo()
                assert packed.Unpack(self.retry)

    @property
    def fields(self) -> list[str]:
        return [each.field for each in self.bad_request.field_violations]

    @property
    def reason(self) -> str:
        return str(self.info.reason)


CODES = {code.value[0]: code for code in grpc.StatusCode}
