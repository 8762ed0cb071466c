"""Binds the SDK to the model: feeds it what comes, asks for what it lacks, sends what the user wants."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Protocol, TypeVar

import grpc

from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.channels import ChatChannel, OutgoingMessage
from tidings_chat.chats import Chats, Need, Person
from tidings_chat.text import explain
from tidings_chat.timeline import Timeline, entry_of
from tidings_client import (
    Backoff,
    Connection,
    Presence,
    SignedOutError,
    Status,
    Tidings,
    TidingsError,
    new_client_message_id,
)

PAGE = 100
_PRESENCE_SECONDS = 15.0
_PRESENCE_PEOPLE = 100
_TYPING_SECONDS = 3.0
_PROFILES_AT_ONCE = 8
_FOUND_PEOPLE = 50

Answer = TypeVar("Answer")


class SessionListener(Protocol):
    """Who shows it all."""

    def changed(self) -> None:
        """The model or the status is another than before."""

    def arrived(self, channel: ChatChannel, message: chat_pb2.Message) -> None:
        """Somebody else has just written something unread."""

    def appeared(self, channel: ChatChannel) -> None:
        """A channel came up that was not there before, with something unread or with the user put in it."""

    def failed(self, text: str) -> None:
        """Something did not work, in words."""


class ChatSession:
    """A signed-in user's session, for as long as `run` runs."""

    def __init__(self, client: Tidings, listener: SessionListener) -> None:
        """Nothing happens before `run`.

        Args:
            client: The signed-in device.
            listener: Is told what to show.
        """
        self.client = client
        self.chats = Chats(client.user)
        self.status = Status.CONNECTING
        self.current: ChatChannel | None = None
        """The channel on the screen."""
        self._listener = listener
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._profiles = asyncio.Semaphore(_PROFILES_AT_ONCE)
        # Channels being asked for, and whether something came meanwhile that the answer may not hold.
        self._refreshing: dict[str, bool] = {}
        self._loading: set[Timeline] = set()
        self._marking: set[str] = set()
        self._editing: Counter[tuple[str, int]] = Counter()
        self._listing = asyncio.Lock()
        self._typing_said: tuple[str, float] = ("", 0.0)

    # --- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Holds the streams until `stop`.

        Raises:
            SignedOutError: The sign-in has ended.
            ReplacedError: The device has a newer stream.
            TidingsError: No server will take this client.
        """
        async with self.client.connect(on_status=self._on_status) as connection, self.client.presence() as presence:
            self._connection = connection
            self._spawn(self._follow(connection), is_vital=True)
            self._spawn(self._watch(presence))
            self._spawn(self._poll_presence())
            try:
                await self._ended
            finally:
                self._connection = None
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Ends `run`, in good order."""
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def unsent(self) -> int:
        """Messages that no server has accepted yet."""
        return sum(len(channel.outgoing) for channel in self.chats.channels.values())

    async def _follow(self, connection: Connection) -> None:
        await self._list_channels(start_over=False)
        self._spawn(self._learn_contacts())
        async for event in connection:
            need = self.chats.take(event, time.monotonic())
            if need is not None:
                self._supply(need, event)
            if event.HasField("message"):
                self._announce(event.message)
            self._listener.changed()

    async def _watch(self, presence: Presence) -> None:
        async for change in presence:
            self.chats.online[change.user_id] = change.online
            self._listener.changed()

    async def _poll_presence(self) -> None:
        # The stream tells of contacts alone.
        while True:
            with contextlib.suppress(TidingsError):
                await self.look_around()
            await asyncio.sleep(_PRESENCE_SECONDS)

    def _supply(self, need: Need, event: chat_pb2.Event) -> None:
        match need:
            case Need.CHANNEL:
                entry = entry_of(event)
                channel_id = entry.channel_id if entry is not None else event.receipt.channel_id
                self._spawn(self._refresh(channel_id))
            case Need.CHANNELS:
                self._spawn(self._list_channels(start_over=False))
            case Need.EVERYTHING:
                self._spawn(self._list_channels(start_over=True))

    def _announce(self, message: chat_pb2.Message) -> None:
        channel = self.chats.channels.get(message.channel_id)
        if (
            channel is not None
            and self.status is Status.LIVE
            and message.sender_id != self.chats.me
            and message.seq > channel.read_seq
        ):
            self._listener.arrived(channel, message)

    def _on_status(self, status: Status) -> None:
        self.status = status
        self._listener.changed()

    # --- what the model lacks -----------------------------------------------------------------------------------------

    async def _list_channels(self, start_over: bool) -> None:
        async with self._listing:
            snapshots = await self._insist(self.client.list_channels)
            if start_over:
                self.chats.start_over(snapshots)
                current = self.current
                if current is not None:
                    # It may not be among them any more: what was on the screen stays there, and nothing comes in.
                    self.current = self.chats.channels.get(current.channel_id, current)
                    self._spawn(self._load(self.current))
            else:
                self.chats.put_all(snapshots)
        self._listener.changed()

    async def _refresh(self, channel_id: str) -> None:
        if channel_id in self._refreshing:
            self._refreshing[channel_id] = True
            return
        self._refreshing[channel_id] = True
        try:
            while self._refreshing[channel_id]:
                self._refreshing[channel_id] = False
                is_new = channel_id not in self.chats.channels
                channel = self.chats.put(await self._insist(lambda: self.client.get_channel(channel_id)))
                if channel.is_direct:
                    await self.know([channel.peer])
                if is_new and self.status is Status.LIVE:
                    self._listener.appeared(channel)
                self._listener.changed()
        except TidingsError as error:
            # A channel that the user is no longer in: what was said of it meanwhile is not for the list.
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
        finally:
            del self._refreshing[channel_id]

    async def _learn_contacts(self) -> None:
        answer = await self._insist(self.client.list_contacts)
        self.chats.meet(contact.user for contact in answer.contacts)
        self.chats.meet(answer.blocked_users)
        self.chats.contacts = {contact.user.user_id for contact in answer.contacts}
        self.chats.blocked = {user.user_id for user in answer.blocked_users}
        self._listener.changed()

    def complete(self) -> None:
        """Asks for the names and quoted messages that the screen shows without knowing them."""
        strangers = self.chats.strangers
        while strangers:
            self._spawn(self._learn_person(strangers.pop()))
        channel = self.current
        if channel is not None:
            wanted = channel.timeline.wanted
            while wanted:
                self._spawn(self._learn_quote(channel, channel.timeline, wanted.pop()))

    async def know(self, user_ids: Iterable[str]) -> None:
        """Waits until the names of some people are known."""
        unknown = [user_id for user_id in user_ids if not self.chats.person(user_id).username]
        await asyncio.gather(*(self._learn_person(user_id) for user_id in unknown))

    async def _learn_person(self, user_id: str) -> None:
        try:
            async with self._profiles:
                self.chats.meet([await self._insist(lambda: self.client.get_user(user_id))])
        except TidingsError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            self.chats.people[user_id] = Person(user_id, display_name="somebody")
        self._listener.changed()

    async def _learn_quote(self, channel: ChatChannel, timeline: Timeline, seq: int) -> None:
        found = await self._insist(
            lambda: self.client.list_messages(channel.channel_id, before_seq=seq + 1, page_size=1)
        )
        for message in found:
            if message.seq == seq:
                timeline.add_quote(message)
                self._listener.changed()

    async def look_around(self) -> None:
        """Asks who is online of those whom the screen shows."""
        shown = {channel.peer for channel in self.chats.channels.values() if channel.is_direct}
        if self.current is not None:
            shown.update(self.current.members)
        asked = sorted(shown - self.chats.contacts - {self.chats.me, ""})
        for start in range(0, len(asked), _PRESENCE_PEOPLE):
            for found in await self.client.get_presence(asked[start : start + _PRESENCE_PEOPLE]):
                self.chats.online[found.user_id] = found.online
        if asked:
            self._listener.changed()

    # --- what is on the screen ----------------------------------------------------------------------------------------

    def show(self, channel: ChatChannel) -> None:
        """Puts a channel on the screen; its history is loaded."""
        self.current = channel
        channel.is_open = True
        if not channel.timeline.is_loaded:
            self._spawn(self._load(channel))
        self._spawn(self._look_around_once())
        self._listener.changed()

    def load_older(self, channel: ChatChannel) -> None:
        """Loads the page of history before what is loaded."""
        timeline = channel.timeline
        if timeline.is_loaded and not timeline.is_complete and timeline not in self._loading:
            self._spawn(self._load(channel))

    async def _load(self, channel: ChatChannel) -> None:
        timeline = channel.timeline
        if timeline in self._loading:
            return
        self._loading.add(timeline)
        try:
            shown = len(timeline.items)
            while not timeline.is_complete:
                before = timeline.oldest if timeline.is_loaded else 0
                events = await self._insist(
                    lambda before=before: self.client.list_events(  # type: ignore[misc]
                        channel.channel_id, before_seq=before, page_size=PAGE
                    )
                )
                entries = [entry for entry in map(entry_of, events) if entry is not None]
                timeline.add_page(entries, is_last=len(events) < PAGE or entries[0].seq <= 1)
                self._listener.changed()
                # A page may be nothing but edits of older messages.
                if len(timeline.items) > shown:
                    break
        finally:
            self._loading.discard(timeline)

    async def _look_around_once(self) -> None:
        with contextlib.suppress(TidingsError):
            await self.look_around()

    def read(self, channel: ChatChannel) -> None:
        """The user has seen all there is in a channel."""
        if channel.is_member and channel.head_seq > channel.read_seq:
            channel.mark_read(channel.head_seq)
            if channel.channel_id not in self._marking:
                self._marking.add(channel.channel_id)
                self._spawn(self._mark_read(channel))

    async def _mark_read(self, channel: ChatChannel) -> None:
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
            await self._refresh(channel.channel_id)

    def compose(self, channel: ChatChannel, is_composing: bool) -> None:
        """The user is writing in a channel, or has stopped."""
        channel_id, at = self._typing_said
        now = time.monotonic()
        if is_composing and channel_id == channel.channel_id and now - at < _TYPING_SECONDS:
            return
        if not is_composing and channel_id != channel.channel_id:
            return
        self._typing_said = (channel.channel_id, now) if is_composing else ("", 0.0)
        self._spawn(self._say_typing(channel.channel_id, is_composing))

    async def _say_typing(self, channel_id: str, is_composing: bool) -> None:
        with contextlib.suppress(TidingsError):
            await self._live_connection().set_typing(channel_id, is_composing)

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, channel: ChatChannel, text: str, reply_to_seq: int = 0) -> None:
        """Sends a message; it shows at once, and as accepted once it is."""
        sending = OutgoingMessage(new_client_message_id(), text, reply_to_seq)
        channel.outgoing.append(sending)
        self.compose(channel, False)
        self._spawn(self._send(channel, sending))
        self._listener.changed()

    def retry(self, channel: ChatChannel) -> int:
        """Sends again what failed; gives how many messages that is."""
        failed = [sending for sending in channel.outgoing if sending.failure]
        for sending in failed:
            sending.failure = ""
            self._spawn(self._send(channel, sending))
        self._listener.changed()
        return len(failed)

    def discard(self, channel: ChatChannel) -> int:
        """Forgets what failed; gives how many messages that is."""
        kept = [sending for sending in channel.outgoing if not sending.failure]
        discarded = len(channel.outgoing) - len(kept)
        channel.outgoing = kept
        self._listener.changed()
        return discarded

    async def _send(self, channel: ChatChannel, sending: OutgoingMessage) -> None:
        try:
            await self._live_connection().send(
                channel.channel_id, sending.text, sending.reply_to_seq, sending.client_message_id
            )
        except TidingsError as error:
            sending.failure = explain(error)
            self._listener.changed()

    def edit(self, channel: ChatChannel, seq: int, text: str) -> None:
        """Changes an own message. A text that it has already is not sent."""
        message = channel.timeline.message(seq)
        edited = channel.channel_id, seq
        # While an edit is on its way, the text known here is about to be another one.
        if message is not None and message.text == text and not self._editing[edited]:
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
                self._listener.failed(f"{failure}: {explain(error)}")

        self._spawn(attempt())

    # --- channels and people; each raises TidingsError for a no -------------------------------------------------------

    async def search(self, prefix: str) -> list[Person]:
        """People whose username or name begins with a prefix, without oneself."""
        answer = await self.client.search_users(prefix, page_size=_FOUND_PEOPLE)
        self.chats.meet(answer.users)
        return [self.chats.person(user.user_id) for user in answer.users if user.user_id != self.chats.me]

    async def find(self, username: str) -> Person | None:
        """The one person of that username; None when there is nobody."""
        for person in await self.search(username):
            if person.username == username.lower():
                return person
        return None

    async def open_direct(self, user_id: str) -> ChatChannel:
        """The direct channel with a person."""
        channel = self.chats.put(await self.client.open_direct_channel(user_id))
        channel.is_fresh = not channel.head_seq
        return channel

    async def create_group(self, title: str, user_ids: Sequence[str]) -> ChatChannel:
        """Makes a group."""
        return self.chats.put(await self.client.create_group(title, user_ids))

    async def add(self, channel: ChatChannel, user_ids: Sequence[str]) -> None:
        """Adds people to a group."""
        self._put(await self.client.add_members(channel.channel_id, user_ids))

    async def remove(self, channel: ChatChannel, user_id: str) -> None:
        """Puts somebody out of a group."""
        self._put(await self.client.remove_member(channel.channel_id, user_id))

    async def change_role(self, channel: ChatChannel, user_id: str, role: channel_pb2.MemberRole) -> None:
        """Gives a member another role. One that they have already is not sent."""
        member = channel.members.get(user_id)
        if member is not None and member.role == role:
            return
        self._put(await self.client.change_role(channel.channel_id, user_id, role))

    async def retitle(self, channel: ChatChannel, title: str) -> None:
        """Changes a group's title. One that it has already is not sent."""
        if title == channel.title:
            return
        self._put(await self.client.retitle_group(channel.channel_id, title))

    async def leave(self, channel: ChatChannel) -> None:
        """Leaves a group, which goes from the list."""
        await self.client.leave_group(channel.channel_id)
        self.chats.channels.pop(channel.channel_id, None)
        if self.current is channel:
            self.current = None
        self._listener.changed()

    async def mute(self, channel: ChatChannel, muted: bool) -> None:
        """Mutes or unmutes a channel; always asked for, since another device may have changed it unheard."""
        await self.client.set_mute(channel.channel_id, muted)
        channel.muted = muted
        self._listener.changed()

    async def add_contact(self, user_id: str) -> None:
        """Adds somebody to the contacts."""
        await self.client.add_contact(user_id)
        self.chats.contacts.add(user_id)
        self._listener.changed()

    async def remove_contact(self, user_id: str) -> None:
        """Removes somebody from the contacts."""
        await self.client.remove_contact(user_id)
        self.chats.contacts.discard(user_id)
        self._listener.changed()

    async def block(self, user_id: str) -> None:
        """Blocks somebody."""
        await self.client.block_user(user_id)
        self.chats.blocked.add(user_id)
        self.chats.online.pop(user_id, None)
        self._listener.changed()

    async def unblock(self, user_id: str) -> None:
        """Lifts a block."""
        await self.client.unblock_user(user_id)
        self.chats.blocked.discard(user_id)
        self._listener.changed()

    def _put(self, snapshot: channel_pb2.Channel) -> None:
        self.chats.put(snapshot)
        self._listener.changed()

    # --- behind the scenes --------------------------------------------------------------------------------------------

    def _live_connection(self) -> Connection:
        if self._connection is None:
            raise TidingsError(grpc.StatusCode.CANCELLED, "the session is over")
        return self._connection

    async def _insist(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks until there is an answer, for what the screen cannot do without."""
        backoff = Backoff()
        while True:
            try:
                return await ask()
            except TidingsError as error:
                if not error.is_transient and error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
                await asyncio.sleep(backoff.next(error.retry_after))

    def _spawn(self, work: Coroutine[None, None, None], is_vital: bool = False) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._settle(task, is_vital))

    def _settle(self, task: asyncio.Task[None], is_vital: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if is_vital or isinstance(error, SignedOutError) or not isinstance(error, TidingsError):
            if not self._ended.done():
                self._ended.set_exception(error)
        else:
            self._listener.failed(explain(error))
