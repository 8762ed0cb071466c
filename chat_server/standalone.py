"""A chat server without others, put together."""

from __future__ import annotations

import asyncio

from chat_server.channels.local import ChannelPorts, LocalChannels
from chat_server.server import ChatServer, ChatSettings
from chat_server.sessions.catch_up import CatchUp
from chat_server.sessions.registry import SessionRegistry
from tidings.core.clock import Clock
from tidings.core.ports import Inbox
from tidings.core.positions import Positions
from tidings.rpc.tokens import TokenVerifier


class StandaloneChatServer:
    """The sessions and channels of the only chat server there is: it sequences every channel.

    Args:
        server_id: Its name in the registry.
        ports: The engines of its channels.
        inbox: Keeps what was not received.
        positions: Numbers events.
        verifier: Checks newer tokens.
        clock: Tells the time.
        settings: What an operator may set.
    """

    def __init__(
        self,
        server_id: str,
        ports: ChannelPorts,
        inbox: Inbox,
        positions: Positions,
        verifier: TokenVerifier,
        clock: Clock,
        settings: ChatSettings,
    ) -> None:
        sessions = SessionRegistry()
        self.channels = LocalChannels(ports, sessions, positions, clock, settings.push_delay, revoked=verifier.revoked)
        catch_up = CatchUp(server_id, ports.log, inbox, clock, settings.inbox_days, settings.restored)
        self.chat = ChatServer(sessions, self.channels, catch_up, verifier, clock, settings)

    async def start(self) -> None:
        """Take up what an earlier run left undone, before the first session begins.

        Raises:
            Refusal: The storage is away.
        """
        await self.channels.change_hands()

    async def run(self) -> None:
        """Do what has to be done beside the streams, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.channels.run())
            group.create_task(self.chat.run())

    async def close(self) -> None:
        """Finish what is under way, and end the sessions that are left."""
        await self.channels.close()
        self.chat.close()
