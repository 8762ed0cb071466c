"""Calls of the services behind one address, signed in as a device."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    channel_pb2_grpc,
    contact_pb2_grpc,
    discovery_pb2,
    discovery_pb2_grpc,
    history_pb2_grpc,
    push_pb2_grpc,
)
from tidings_client._channel_list import ChannelList
from tidings_client._errors import SignedOutError, TidingsError, from_rpc
from tidings_client._servers import Servers
from tidings_client._storage import SavedDevice, Storage
from tidings_client._tokens import TokenKeeper
from tidings_client._transport import Metadata, Tls, bearer, open_channel

_log = logging.getLogger(__name__)

# A renewal that is not answered in time is sent again, as the same attempt.
_REFRESH_SECONDS = 10.0
# Discovery is asked while a stream is down: its answer is of no use late.
_RECOMMEND_SECONDS = 3.0
_PAGE = 200

Answer = TypeVar("Answer")
Method = Callable[..., Awaitable[Answer]]
"""A method of a generated stub."""


async def call(method: Method[Answer], request: Message, timeout: float, metadata: Metadata | None = None) -> Answer:
    """Makes one call, and raises what the server answers as a `TidingsError`.

    Args:
        method: The stub's method.
        request: Its request.
        timeout: Seconds that the call may take.
        metadata: The metadata to send with the request.

    Raises:
        TidingsError: The server refused the call, or could not be reached.
    """
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except aio.AioRpcError as error:
        raise from_rpc(error) from None


class ApiClient:
    """Calls the services behind one address as one device, and renews its tokens.

    It connects with the first call.

    Args:
        storage: Keeps the tokens and the recommended servers.
        device: The device, which is signed in.
        tls: How connections are secured.
        timeout: Seconds that a call may take.
        is_new: Whether the device signed in just now; otherwise it was found on the disk.
    """

    def __init__(self, storage: Storage, device: SavedDevice, *, tls: Tls, timeout: float, is_new: bool) -> None:
        self.device = device
        self.tls: Tls = tls
        self._storage = storage
        self._timeout = timeout
        self._channel = channel = open_channel(device.server, tls)
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.contacts = contact_pb2_grpc.ContactServiceStub(channel)
        self.channels = channel_pb2_grpc.ChannelServiceStub(channel)
        self.history = history_pb2_grpc.HistoryServiceStub(channel)
        self.pushes = push_pb2_grpc.PushServiceStub(channel)
        self.discovery = discovery_pb2_grpc.DiscoveryServiceStub(channel)
        self.keeper = TokenKeeper(
            device.tokens or account_pb2.Tokens(), self._refresh, storage.save_tokens, is_new=is_new
        )

    async def ask(self, method: Method[Answer], request: Message) -> Answer:
        """Makes one call as the signed-in device. When its token is refused, it is made again with a newer one.

        Args:
            method: The method, of a stub of this object or of another server's.
            request: Its request.

        Raises:
            SignedOutError: The device is signed out.
            TidingsError: The server refused the call, or could not be reached.
        """
        token = await self.keeper.current()
        try:
            return await call(method, request, self._timeout, bearer(token))
        except TidingsError as error:
            # A wrong password in ChangePassword is answered so too; with a newer token it is again.
            if error.code is not grpc.StatusCode.UNAUTHENTICATED:
                raise
        return await call(method, request, self._timeout, bearer(await self.keeper.renew(token)))

    async def recommend(
        self, kind: discovery_pb2.ServerKind, exclude: Sequence[str] = ()
    ) -> Sequence[discovery_pb2.Server]:
        """Asks discovery for servers of a kind, best first.

        Args:
            kind: What the servers serve.
            exclude: The ids of servers that have just failed.

        Raises:
            TidingsError: There is none, or discovery could not be reached.
        """
        request = discovery_pb2.RecommendServersRequest(kind=kind, exclude_server_ids=exclude)
        answer = await call(self.discovery.RecommendServers, request, _RECOMMEND_SECONDS)
        if kind == discovery_pb2.SERVER_KIND_CHAT:
            self.device.servers = list(answer.servers)
            self._storage.save_servers(self.device.servers)
        return answer.servers

    async def list_channels(self) -> list[channel_pb2.Channel]:
        """Lists all channels that the user is in, latest activity first, each once, whatever happens meanwhile.

        Raises:
            TidingsError: The server refused the call, or could not be reached.
        """
        found = ChannelList()
        while True:
            page_token = ""
            while True:
                request = channel_pb2.ListChannelsRequest(page_size=_PAGE, page_token=page_token)
                page = await self.ask(self.channels.ListChannels, request)
                page_token = page.next_page_token
                if not found.add(page.channels) or not page_token:
                    break
            if found.ends_reading():
                return found.channels

    async def choose(self, kind: discovery_pb2.ServerKind, servers: Servers) -> discovery_pb2.Server:
        """Chooses the server of a kind to try next. Where discovery does not answer, it is one of those known.

        Args:
            kind: What the server serves.
            servers: The servers known, to which those of a new recommendation are added.
        """
        if servers.wants_advice:
            try:
                servers.learn(await self.recommend(kind, servers.excluded))
            except TidingsError as error:
                _log.info("no server is recommended: %s", error)
        return servers.next()

    async def close(self) -> None:
        """Closes the connection."""
        await self.keeper.close()
        await self._channel.close()

    async def _refresh(self, refresh_token: str) -> account_pb2.Tokens:
        request = account_pb2.RefreshTokensRequest(refresh_token=refresh_token, attempt_id=self._storage.attempt())
        try:
            answer = await call(self.accounts.RefreshTokens, request, _REFRESH_SECONDS)
        except TidingsError as error:
            # Whatever stands between, such as a proxy that wants a sign-in of its own, gives no reason of the contract.
            if error.code is grpc.StatusCode.UNAUTHENTICATED and error.reason:
                # Nothing will make these tokens good again.
                self._storage.save_tokens(None)
                raise SignedOutError.of(error) from None
            raise
        return answer.tokens
