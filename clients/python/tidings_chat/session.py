"""A signed-in user's session: it holds the streams, and keeps the model up to date with what they bring."""

from __future__ import annotations

import time
from typing import Protocol

from tidings.v1 import chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats, Need
from tidings_chat.loading import ModelLoader
from tidings_chat.sending import ActionSender
from tidings_chat.shown import ShownLine
from tidings_chat.tasks import SessionTasks
from tidings_chat.timeline import entry_of
from tidings_client import Connection, Presence, Status, Tidings


class SessionListener(Protocol):
    """Shows the session to the user."""

    def changed(self) -> None:
        """Shows the model as it is now, and the status."""

    def arrived(self, channel: ChatChannel, message: chat_pb2.Message) -> None:
        """Announces a message that somebody else has just written, and that the user has not read."""

    def appeared(self, channel: ChatChannel) -> None:
        """Announces a channel that came up while the user was connected."""

    def failed(self, text: ShownLine) -> None:
        """Tells, in words, what did not work."""


class ChatSession:
    """Holds the streams of a signed-in user for as long as `run` runs, and feeds the model.

    Args:
        client: The signed-in device.
        listener: Shows the session.
    """

    def __init__(self, client: Tidings, listener: SessionListener) -> None:
        self.client = client
        self.chats = Chats(client.user)
        self.status = Status.CONNECTING
        self._listener = listener
        self._tasks = SessionTasks(listener.failed)
        self.loader = ModelLoader(
            client, self.chats, self._tasks, changed=listener.changed, appeared=self._announce_channel
        )
        """Loads what the model lacks."""
        self.sender = ActionSender(
            client, self.chats, self.loader, self._tasks, changed=listener.changed, failed=listener.failed
        )
        """Sends what the user does."""

    async def run(self) -> None:
        """Holds the streams until `stop`.

        Raises:
            SignedOutError: The sign-in has ended.
            ReplacedError: The device has a newer stream.
            TidingsError: No server will take this client.
        """
        async with self.client.connect(on_status=self._on_status) as connection, self.client.presence() as presence:
            self.sender.connection = connection
            self._tasks.start(self._follow(connection), is_vital=True)
            self._tasks.start(self._watch(presence))
            self._tasks.start(self.loader.keep_looking_around())
            try:
                await self._tasks.until_ended()
            finally:
                self.sender.connection = None

    def stop(self) -> None:
        """Ends `run`, in good order."""
        self._tasks.end()

    @property
    def unsent(self) -> int:
        """The number of messages that no server has accepted yet."""
        return sum(len(channel.outgoing) for channel in self.chats.channels.values())

    async def _follow(self, connection: Connection) -> None:
        await self.loader.list_channels(start_over=False)
        self._tasks.start(self.loader.learn_contacts())
        async for event in connection:
            need = self.chats.take(event, time.monotonic())
            if need is not None:
                self._supply(need, event)
            if event.HasField("message"):
                self._announce_message(event.message)
            self._listener.changed()

    async def _watch(self, presence: Presence) -> None:
        async for change in presence:
            self.chats.online[change.user_id] = change.online
            self._listener.changed()

    def _supply(self, need: Need, event: chat_pb2.Event) -> None:
        match need:
            case Need.CHANNEL:
                entry = entry_of(event)
                channel_id = entry.channel_id if entry is not None else event.receipt.channel_id
                self._tasks.start(self.loader.refresh(channel_id))
            case Need.CHANNELS:
                self._tasks.start(self.loader.list_channels(start_over=False))
            case Need.EVERYTHING:
                self._tasks.start(self.loader.list_channels(start_over=True))

    def _announce_message(self, message: chat_pb2.Message) -> None:
        channel = self.chats.channels.get(message.channel_id)
        if (
            channel is not None
            and self.status is Status.LIVE
            and message.sender_id != self.chats.me
            and message.seq > channel.read_seq
        ):
            self._listener.arrived(channel, message)

    def _announce_channel(self, channel: ChatChannel) -> None:
        if self.status is Status.LIVE:
            self._listener.appeared(channel)

    def _on_status(self, status: Status) -> None:
        self.status = status
        self._listener.changed()
