"""Loads what the model lacks: channels, people, history, and who is online."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

import grpc

from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats, Person
from tidings_chat.shown import ShownLine
from tidings_chat.tasks import SessionTasks
from tidings_chat.timeline import Timeline, entry_of
from tidings_client import Backoff, Tidings, TidingsError

PAGE = 100
_PRESENCE_SECONDS = 15.0
_PRESENCE_PEOPLE = 100
_PROFILES_AT_ONCE = 8
_FOUND_PEOPLE = 50

Answer = TypeVar("Answer")


class ModelLoader:
    """Asks the servers for what the model needs, and puts the answers into it.

    What the screen cannot do without is asked for again until a server answers.

    Args:
        client: The signed-in device.
        chats: The model.
        tasks: Runs the loads that nobody waits for.
        changed: Is called when the model has changed.
        appeared: Is called with a channel that was not in the model before.
    """

    def __init__(
        self,
        client: Tidings,
        chats: Chats,
        tasks: SessionTasks,
        *,
        changed: Callable[[], None],
        appeared: Callable[[ChatChannel], None],
    ) -> None:
        self._client = client
        self._chats = chats
        self._tasks = tasks
        self._changed = changed
        self._appeared = appeared
        self._profiles = asyncio.Semaphore(_PROFILES_AT_ONCE)
        # Channels being asked for, and whether something came meanwhile that the answer may not hold.
        self._refreshing: dict[str, bool] = {}
        self._loading: set[Timeline] = set()
        self._listing = asyncio.Lock()

    # --- channels -----------------------------------------------------------------------------------------------------

    async def list_channels(self, *, start_over: bool) -> None:
        """Loads all channels.

        Args:
            start_over: Whether events are missing, so that the list replaces what is known. The history on the screen
                is then loaded again.
        """
        async with self._listing:
            snapshots = await _insist(self._client.list_channels)
            if start_over:
                self._chats.start_over(snapshots)
                if self._chats.current is not None:
                    self._tasks.start(self._load(self._chats.current))
            else:
                self._chats.put_all(snapshots)
        self._changed()

    async def refresh(self, channel_id: str) -> None:
        """Loads one channel; a channel that the user is not in any more is left as it is."""
        if channel_id in self._refreshing:
            self._refreshing[channel_id] = True
            return
        self._refreshing[channel_id] = True
        try:
            while self._refreshing[channel_id]:
                self._refreshing[channel_id] = False
                is_new = channel_id not in self._chats.channels
                channel = self._chats.put(await _insist(partial(self._client.get_channel, channel_id)))
                if channel.is_direct:
                    await self.know([channel.peer])
                if is_new:
                    self._appeared(channel)
                self._changed()
        except TidingsError as error:
            # A channel that the user is no longer in: what was said of it meanwhile is not for the list.
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
        finally:
            del self._refreshing[channel_id]

    # --- the channel on the screen ------------------------------------------------------------------------------------

    def show(self, channel: ChatChannel) -> None:
        """Puts a channel on the screen, and loads its history."""
        self._chats.current = channel
        channel.is_open = True
        if not channel.timeline.is_loaded:
            self._tasks.start(self._load(channel))
        self._tasks.start(self._look_around_once())
        self._changed()

    def load_older(self, channel: ChatChannel) -> None:
        """Loads the page of history before what is loaded."""
        timeline = channel.timeline
        if timeline.is_loaded and not timeline.is_complete and timeline not in self._loading:
            self._tasks.start(self._load(channel))

    async def _load(self, channel: ChatChannel) -> None:
        """Loads pages of history until there is something more to show, or nothing older is left."""
        timeline = channel.timeline
        if timeline in self._loading:
            return
        self._loading.add(timeline)
        try:
            shown = len(timeline.items)
            while not timeline.is_complete:
                before = timeline.oldest if timeline.is_loaded else 0
                ask = partial(self._client.list_events, channel.channel_id, before_seq=before, page_size=PAGE)
                events = await _insist(ask)
                entries = [entry for entry in map(entry_of, events) if entry is not None]
                timeline.add_page(entries, is_last=len(events) < PAGE or not entries or entries[0].seq <= 1)
                self._changed()
                # A page may be nothing but edits of older messages.
                if len(timeline.items) > shown:
                    break
        finally:
            self._loading.discard(timeline)

    def complete(self) -> None:
        """Loads the names and the quoted messages that the screen shows without knowing them."""
        strangers = self._chats.strangers
        while strangers:
            self._tasks.start(self._learn_person(strangers.pop()))
        channel = self._chats.current
        if channel is not None:
            wanted = channel.timeline.wanted
            while wanted:
                self._tasks.start(self._learn_quote(channel, channel.timeline, wanted.pop()))

    async def _learn_quote(self, channel: ChatChannel, timeline: Timeline, seq: int) -> None:
        found = await _insist(
            partial(self._client.list_messages, channel.channel_id, before_seq=seq + 1, page_size=1),
        )
        for message in found:
            if message.seq == seq:
                timeline.add_quote(message)
                self._changed()

    # --- people -------------------------------------------------------------------------------------------------------

    async def know(self, user_ids: Iterable[str]) -> None:
        """Waits until the names of some people are known."""
        unknown = [user_id for user_id in user_ids if not self._chats.person(user_id).username]
        await asyncio.gather(*(self._learn_person(user_id) for user_id in unknown))

    async def _learn_person(self, user_id: str) -> None:
        try:
            async with self._profiles:
                self._chats.meet([await _insist(partial(self._client.get_user, user_id))])
        except TidingsError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            self._chats.people[user_id] = Person(user_id, display_name=ShownLine("somebody"))
        self._changed()

    async def learn_contacts(self) -> None:
        """Loads the contacts and the people who are blocked."""
        answer = await _insist(self._client.list_contacts)
        self._chats.meet(contact.user for contact in answer.contacts)
        self._chats.meet(answer.blocked_users)
        self._chats.contacts = {contact.user.user_id for contact in answer.contacts}
        self._chats.blocked = {user.user_id for user in answer.blocked_users}
        self._changed()

    async def search(self, prefix: str) -> list[Person]:
        """Finds people whose username or name begins with a prefix, without the user.

        Raises:
            TidingsError: A server refused the search, or could not be reached.
        """
        answer = await self._client.search_users(prefix, page_size=_FOUND_PEOPLE)
        self._chats.meet(answer.users)
        found = dict.fromkeys(user.user_id for user in answer.users)
        return [self._chats.person(user_id) for user_id in found if user_id != self._chats.me]

    async def find(self, username: str) -> Person | None:
        """Finds the one person of that username; None when there is nobody.

        Raises:
            TidingsError: A server refused the search, or could not be reached.
        """
        for person in await self.search(username):
            if person.username == username.lower():
                return person
        return None

    # --- who is online ------------------------------------------------------------------------------------------------

    async def keep_looking_around(self) -> None:
        """Asks who is online, again and again: the stream of presence tells of contacts alone."""
        while True:
            await self._look_around_once()
            await asyncio.sleep(_PRESENCE_SECONDS)

    async def _look_around_once(self) -> None:
        with contextlib.suppress(TidingsError):
            await self._look_around()

    async def _look_around(self) -> None:
        """Asks who is online of those whom the screen shows."""
        chats = self._chats
        shown = {channel.peer for channel in chats.channels.values() if channel.is_direct}
        if chats.current is not None:
            shown.update(chats.current.members)
        asked = sorted(shown - chats.contacts - {chats.me, ""})
        for start in range(0, len(asked), _PRESENCE_PEOPLE):
            for found in await self._client.get_presence(asked[start : start + _PRESENCE_PEOPLE]):
                chats.online[found.user_id] = found.online
        if asked:
            self._changed()


async def _insist(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Asks until there is an answer, or a refusal that another attempt would not change."""
    backoff = Backoff()
    while True:
        try:
            return await ask()
        except TidingsError as error:
            if not error.is_transient and error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            await asyncio.sleep(backoff.next(error.retry_after))
