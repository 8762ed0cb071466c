"""Presence: being online, and who else is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NoReturn, Self, TypeAlias

import grpc
from grpc import aio

from tidings.v1 import discovery_pb2, presence_pb2, presence_pb2_grpc
from tidings_client._api_client import ApiClient
from tidings_client._call_status import CallStatus
from tidings_client._errors import TidingsError, refusal
from tidings_client._reconnect_policy import ReconnectPolicy
from tidings_client._servers import Servers
from tidings_client._transport import bearer, open_channel

_log = logging.getLogger(__name__)

_Stream: TypeAlias = "aio.StreamStreamCall[presence_pb2.TrackRequest, presence_pb2.TrackResponse]"

_HEARTBEAT_SECONDS = 5.0


class PresenceLookup:
    """Asks presence servers who is online, over connections that are kept for the next time.

    Args:
        api: Calls the servers as the device.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._servers = Servers(api.device.server)
        self._channels: dict[str, aio.Channel] = {}

    async def get(self, user_ids: Sequence[str]) -> Sequence[presence_pb2.PresenceChange]:
        """Asks for the presence of some people now, in this order.

        Raises:
            TidingsError: The server refused the call, or neither it nor another could be reached.
        """
        try:
            return await self._ask(user_ids)
        except TidingsError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
        return await self._ask(user_ids)

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def _ask(self, user_ids: Sequence[str]) -> Sequence[presence_pb2.PresenceChange]:
        server = await self._api.choose(discovery_pb2.SERVER_KIND_PRESENCE, self._servers)
        if server.endpoint not in self._channels:
            self._channels[server.endpoint] = open_channel(server.endpoint, self._api.tls)
        stub = presence_pb2_grpc.PresenceServiceStub(self._channels[server.endpoint])
        try:
            answer = await self._api.ask(stub.GetPresence, presence_pb2.GetPresenceRequest(user_ids=user_ids))
        except TidingsError as error:
            if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                self._servers.failed(server)
            raise
        self._servers.worked()
        return answer.presences


class Presence:
    """Keeps this device online and follows the user's contacts, over any number of reconnects.

    `Tidings.presence` makes it, and it is entered with ``async with``. The device is online whether or not anybody
    iterates. The iterator gives the `PresenceChange` of each contact, at first and whenever it changes; of several
    changes of one contact that nobody has taken yet, only the latest is kept. It raises `SignedOutError` when the
    sign-in has ended, `ReplacedError` when the same device entered another presence.

    Args:
        api: Calls the servers as the device.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._servers = Servers(api.device.server)
        self._policy = ReconnectPolicy(api.keeper, self._servers)
        self._known: dict[str, presence_pb2.PresenceChange] = {}
        self._news: dict[str, presence_pb2.PresenceChange] = {}
        self._changed = asyncio.Event()
        self._token = ""
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._is_closed = False

    @property
    def contacts(self) -> Mapping[str, presence_pb2.PresenceChange]:
        """The latest presence of every contact, by user_id."""
        return self._known

    async def __aenter__(self) -> Self:
        """Begins to connect, without waiting for it."""
        if self._task is not None:
            raise RuntimeError("a presence is entered once; make another with Tidings.presence")
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops the heartbeat: the user is offline in 30 s, unless another of their devices is online."""
        self._is_closed = True
        self._changed.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def __aiter__(self) -> Self:
        """The presence is its own iterator."""
        return self

    async def __anext__(self) -> presence_pb2.PresenceChange:
        """Waits for the next change.

        Raises:
            SignedOutError: The device's sign-in has ended.
            ReplacedError: The device has a newer presence.
            TidingsError: No server will take this client.
        """
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            if self._news:
                return self._news.pop(next(iter(self._news)))
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    async def _run(self) -> None:
        try:
            while True:
                delay = await self._attempt()
                await asyncio.sleep(delay)
        except Exception as error:
            self._error = error
            self._changed.set()

    async def _attempt(self) -> float:
        """Holds one stream until it ends, and gives the seconds to wait before the next attempt."""
        server = await self._api.choose(discovery_pb2.SERVER_KIND_PRESENCE, self._servers)
        try:
            self._token = await self._api.keeper.current()
            await self._hold(server)
        except TidingsError as error:
            return await self._policy.after(server, self._token, error)

    async def _hold(self, server: discovery_pb2.Server) -> NoReturn:
        """Holds a stream until it ends, and raises why."""
        channel = open_channel(server.endpoint, self._api.tls)
        stream = presence_pb2_grpc.PresenceServiceStub(channel).Track(metadata=bearer(self._token))
        call_status = CallStatus(stream)
        heart = asyncio.create_task(self._beat(stream))
        try:
            async for frame in stream:
                self._take(frame)
        except aio.AioRpcError as failure:
            raise await call_status.why(failure) from None
        finally:
            heart.cancel()
            stream.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            await channel.close()
        raise refusal(grpc.StatusCode.UNAVAILABLE, f"{server.endpoint} ended the stream")

    async def _beat(self, stream: _Stream) -> None:
        beat = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())
        # The reader finds out why a stream cannot be written to any more.
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await stream.write(beat)
                await asyncio.sleep(_HEARTBEAT_SECONDS)
                # A stream that lived so long works, even if it brought nothing.
                self._policy.worked()

    def _take(self, frame: presence_pb2.TrackResponse) -> None:
        self._policy.worked()
        for change in frame.changes:
            # The first frame after a reconnect repeats what is known.
            if self._known.get(change.user_id) != change:
                self._known[change.user_id] = change
                self._news[change.user_id] = change
                self._changed.set()
