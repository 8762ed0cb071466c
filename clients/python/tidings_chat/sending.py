"""Sends what the user does: messages, read marks, typing, changes of channels and of contacts."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import grpc

from tidings.v1 import channel_pb2
from tidings_chat.channels import ChatChannel, OutgoingMessage
from tidings_chat.chats import Chats
from tidings_chat.loading import ModelLoader
from tidings_chat.shown import NOTHING, ShownLine, ShownText
from tidings_chat.tasks import SessionTasks
from tidings_chat.text import explain
from tidings_client import Connection, SignedOutError, Tidings, TidingsError, new_client_message_id

_TYPING_SECONDS = 3.0


class ActionSender:
    """Carries out what the user does, and shows it in the model.

    What goes over the stream (messages, read marks, typing) is sent in the background. Changes of channels and contacts
    are calls to wait for; each raises `TidingsError` when a server refuses it or cannot be reached.

    Args:
        client: The signed-in device.
        chats: The model.
        loader: Loads a channel again whose unread messages are no longer known exactly.
        tasks: Runs what is sent in the background.
        changed: Is called when the model has changed.
        failed: Shows, in words, what did not work.
    """

    def __init__(
        self,
        client: Tidings,
        chats: Chats,
        loader: ModelLoader,
        tasks: SessionTasks,
        *,
        changed: Callable[[], None],
        failed: Callable[[ShownLine], None],
    ) -> None:
        self._client = client
        self._chats = chats
        self._loader = loader
        self._tasks = tasks
        self._changed = changed
        self._failed = failed
        self._marking: set[str] = set()
        self._editing: Counter[tuple[str, int]] = Counter()
        self._typing_said: tuple[str, float] = ("", 0.0)
        self.connection: Connection | None = None
        """The stream to send over; None before the session runs, and after it."""

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, channel: ChatChannel, text: str, reply_to_seq: int = 0) -> None:
        """Sends a message. It shows at once, and as accepted once it is."""
        message = OutgoingMessage(new_client_message_id(), text, reply_to_seq)
        channel.outgoing.append(message)
        self.compose(channel, False)
        self._tasks.start(self._send(channel, message))
        self._changed()

    def retry(self, channel: ChatChannel) -> int:
        """Sends again what failed; gives how many messages that is."""
        failed = [message for message in channel.outgoing if message.failure]
        for message in failed:
            message.failure = NOTHING
            self._tasks.start(self._send(channel, message))
        self._changed()
        return len(failed)

    def discard(self, channel: ChatChannel) -> int:
        """Forgets what failed; gives how many messages that is."""
        kept = [message for message in channel.outgoing if not message.failure]
        discarded = len(channel.outgoing) - len(kept)
        channel.outgoing = kept
        self._changed()
        return discarded

    async def _send(self, channel: ChatChannel, message: OutgoingMessage) -> None:
        try:
            await self._live_connection().send(
                channel.channel_id, message.text, message.reply_to_seq, message.client_message_id
            )
        except TidingsError as error:
            message.failure = explain(error)
            self._changed()

    def edit(self, channel: ChatChannel, seq: int, text: str) -> None:
        """Changes one of the user's messages. A text that it has already is not sent."""
        message = channel.timeline.message(seq)
        edited = channel.channel_id, seq
        # While an edit is on its way, the text known here is about to be another one.
        if message is not None and message.text == ShownText(text) and not self._editing[edited]:
            return
        name = new_client_message_id()
        self._editing[edited] += 1

        async def act() -> None:
            try:
                await self._live_connection().edit(channel.channel_id, seq, text, name)
            finally:
                self._editing[edited] -= 1

        self._attempt("the message was not changed", act)

    def delete(self, channel: ChatChannel, seq: int) -> None:
        """Deletes a message for everyone."""
        self._attempt("the message was not deleted", lambda: self._live_connection().delete(channel.channel_id, seq))

    def _attempt(self, failure: str, act: Callable[[], Awaitable[object]]) -> None:
        async def attempt() -> None:
            try:
                await act()
            except TidingsError as error:
                self._failed(ShownLine(f"{failure}: {explain(error)}"))

        self._tasks.start(attempt())

    # --- reading and typing -------------------------------------------------------------------------------------------

    def read(self, channel: ChatChannel) -> None:
        """Marks everything in a channel as read."""
        if channel.is_member and channel.head_seq > channel.read_seq:
            channel.mark_read(channel.head_seq)
            if channel.channel_id not in self._marking:
                self._marking.add(channel.channel_id)
                self._tasks.start(self._mark_read(channel))

    async def _mark_read(self, channel: ChatChannel) -> None:
        """Sends a channel's read mark, again while it moves on meanwhile."""
        try:
            marked = 0
            while marked < channel.read_seq:
                marked = channel.read_seq
                await self._live_connection().mark_read(channel.channel_id, marked)
        except TidingsError as error:
            # Put out of the group meanwhile, most likely, which shows for itself.
            if isinstance(error, SignedOutError):
                raise
        finally:
            self._marking.discard(channel.channel_id)
        if channel.is_unsure:
            await self._loader.refresh(channel.channel_id)

    def compose(self, channel: ChatChannel, is_composing: bool) -> None:
        """Shows the others that the user is writing in a channel, or has stopped."""
        channel_id, at = self._typing_said
        now = time.monotonic()
        if is_composing and channel_id == channel.channel_id and now - at < _TYPING_SECONDS:
            return
        if not is_composing and channel_id != channel.channel_id:
            return
        self._typing_said = (channel.channel_id, now) if is_composing else ("", 0.0)
        self._tasks.start(self._say_typing(channel.channel_id, is_composing))

    async def _say_typing(self, channel_id: str, is_composing: bool) -> None:
        with contextlib.suppress(TidingsError):
            await self._live_connection().set_typing(channel_id, is_composing)

    # --- channels -----------------------------------------------------------------------------------------------------

    async def open_direct(self, user_id: str) -> ChatChannel:
        """Opens the direct channel with a person."""
        channel = self._chats.put(await self._client.open_direct_channel(user_id))
        channel.is_fresh = not channel.head_seq
        return channel

    async def create_group(self, title: str, user_ids: Sequence[str]) -> ChatChannel:
        """Makes a group."""
        return self._chats.put(await self._client.create_group(title, user_ids))

    async def add(self, channel: ChatChannel, user_ids: Sequence[str]) -> None:
        """Adds people to a group."""
        self._put(await self._client.add_members(channel.channel_id, user_ids))

    async def remove(self, channel: ChatChannel, user_id: str) -> None:
        """Removes a person from a group."""
        self._put(await self._client.remove_member(channel.channel_id, user_id))

    async def change_role(self, channel: ChatChannel, user_id: str, role: channel_pb2.MemberRole) -> None:
        """Gives a member another role. A role that they have already is not sent."""
        member = channel.members.get(user_id)
        if member is not None and member.role == role:
            return
        self._put(await self._client.change_role(channel.channel_id, user_id, role))

    async def retitle(self, channel: ChatChannel, title: str) -> None:
        """Changes a group's title. A title that it has already is not sent."""
        if ShownLine(title) == channel.title:
            return
        self._put(await self._client.retitle_group(channel.channel_id, title))

    async def leave(self, channel: ChatChannel) -> None:
        """Leaves a group, which goes from the list."""
        await self._client.leave_group(channel.channel_id)
        self._chats.remove(channel)
        self._changed()

    async def mute(self, channel: ChatChannel, muted: bool) -> None:
        """Mutes or unmutes a channel. It is always sent, since no event tells what another device has set."""
        await self._client.set_mute(channel.channel_id, muted)
        channel.muted = muted
        self._changed()

    def _put(self, snapshot: channel_pb2.Channel) -> None:
        self._chats.put(snapshot)
        self._changed()

    # --- contacts -----------------------------------------------------------------------------------------------------

    async def add_contact(self, user_id: str) -> None:
        """Adds a person to the contacts."""
        await self._client.add_contact(user_id)
        self._chats.contacts.add(user_id)
        self._changed()

    async def remove_contact(self, user_id: str) -> None:
        """Removes a person from the contacts."""
        await self._client.remove_contact(user_id)
        self._chats.contacts.discard(user_id)
        self._changed()

    async def block(self, user_id: str) -> None:
        """Blocks a person."""
        await self._client.block_user(user_id)
        self._chats.blocked.add(user_id)
        self._chats.online.pop(user_id, None)
        self._changed()

    async def unblock(self, user_id: str) -> None:
        """Lifts a block."""
        await self._client.unblock_user(user_id)
        self._chats.blocked.discard(user_id)
        self._changed()

    def _live_connection(self) -> Connection:
        if self.connection is None:
            raise TidingsError(grpc.StatusCode.CANCELLED, "the session is over")
        return self.connection
