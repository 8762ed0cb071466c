"""What differs between the two backends: where a node keeps everything, and how its services reach one another."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry

from chat_server.channels.local import LocalChannels
from chat_server.server import ChatServer
from presence_server.tracker import Tracker
from tidings.core.clock import Clock
from tidings.core.ports import (
    AccountStore,
    ChannelWriter,
    ContactStore,
    DeviceStreams,
    History,
    Memberships,
    PushTokenStore,
    Registry,
    SharedRates,
)
from tidings.core.positions import Positions
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.tokens import Revocations, TokenVerifier
from tidings_server.keys import TokenKeys
from tidings_server.settings import Settings


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a node gives to each of its services."""

    settings: Settings
    server_id: str
    """The node's name in the registry."""
    clock: Clock
    verifier: TokenVerifier
    revocations: Revocations
    calls: LiveCalls
    metrics: CollectorRegistry


class ChatHost(Protocol):
    """A chat server put together: the only one there is, or one of a mesh."""

    chat: ChatServer
    """Its sessions."""
    channels: LocalChannels
    """The channels that it sequences."""

    async def close(self) -> None:
        """Finish what is under way, and end the sessions that are left."""


class Services(abc.ABC):
    """The services that run in this process, and the ways from them to one another and to other servers."""

    chat: ChatHost | None
    """None when no chat server runs here."""
    tracker: Tracker | None
    """None when no presence server runs here."""
    contacts: ContactStore
    """For the api: whoever changes contacts here has presence told."""
    writer: ChannelWriter
    """For the api: the way to a channel's sequencer."""
    device_streams: DeviceStreams
    """For the api: ends the streams of signed-out devices, wherever they are."""

    listening = ""
    """HOST:PORT of the listener for other servers, once it has started; empty when there is none."""

    @abc.abstractmethod
    async def start(self) -> str:
        """Learn what has to be known before the first call, and listen for other servers.

        Returns:
            HOST:PORT that other servers dial; empty when there are none.

        Raises:
            ListenError: An address cannot be listened at.
            SettingsError: A certificate cannot be read, or an engine is not there.
        """

    @abc.abstractmethod
    async def run(self) -> None:
        """Do what has to be done beside the calls, until cancelled."""

    @abc.abstractmethod
    async def drain(self) -> None:
        """Answer the health checks of other servers with NOT_SERVING."""

    @abc.abstractmethod
    async def stop(self, grace: float) -> None:
        """Take no new calls of other servers, and cut off those that are still there after `grace` seconds."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close what the services have opened. `run` has ended before."""


class Engines(abc.ABC):
    """Where a node keeps everything: connections to the engines of one backend, and the ports on them."""

    load_seconds: float
    """How often a node reports its load to `registry`."""
    keys: TokenKeys
    positions: Positions
    """Number what this server writes."""
    accounts: AccountStore
    memberships: Memberships
    history: History
    push_tokens: PushTokenStore
    registry: Registry
    shared_rates: SharedRates | None
    """Counts what comes through any api server; None when there is one."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close all connections."""
