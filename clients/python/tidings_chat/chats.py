"""Everything that the screen shows: the channels, the people, who is online. No I/O and no screen."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from tidings.v1 import account_pb2, channel_pb2, chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.text import clean_line
from tidings_chat.timeline import entry_of


class Need(enum.Enum):
    """What has to be asked of the api before the model is whole again."""

    CHANNEL = "channel"
    """The channel of the event, which is not known or not counted exactly."""
    CHANNELS = "channels"
    """All channels, since other things than log entries may have changed while there was no stream."""
    EVERYTHING = "everything"
    """All channels, and the history of the one on the screen: events are missing."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as far as known."""

    user_id: str
    username: str = ""
    display_name: str = ""

    @property
    def name(self) -> str:
        """The name to show."""
        return self.display_name or self.username or "…"

    @property
    def full_name(self) -> str:
        """The name to show, and the one to find them by."""
        return f"{self.name} @{self.username}" if self.username else self.name


class Chats:
    """What one user sees."""

    def __init__(self, me: account_pb2.User) -> None:
        """Nothing but oneself is known yet.

        Args:
            me: Who is signed in.
        """
        self.me = me.user_id
        self.people: dict[str, Person] = {}
        self.strangers: list[str] = []
        """Whom the screen shows without knowing their names; whoever asks for them takes them from here."""
        self.contacts: set[str] = set()
        self.blocked: set[str] = set()
        self.online: dict[str, bool] = {}
        self.channels: dict[str, ChatChannel] = {}
        self.current: ChatChannel | None = None
        """The channel on the screen."""
        self.is_loaded = False
        """Whether the channels have been listed."""
        # Receipts may come before the channel that they belong to is known.
        self._early: dict[str, list[chat_pb2.MemberReceipt]] = {}
        self.meet([me])

    # --- what a screen asks -------------------------------------------------------------------------------------------

    def ordered(self) -> list[ChatChannel]:
        """The channels, latest activity first; ones just opened before all others, ones without any after."""
        return sorted(
            self.channels.values(),
            key=lambda channel: (channel.is_fresh, channel.head_position, channel.channel_id),
            reverse=True,
        )

    def person(self, user_id: str) -> Person:
        """Somebody; one who is not known yet is noted, once, in `strangers`."""
        person = self.people.get(user_id)
        if person is None:
            person = self.people[user_id] = Person(user_id)
            self.strangers.append(user_id)
        return person

    def name_of(self, channel: ChatChannel) -> str:
        """What a channel is called."""
        return self.person(channel.peer).name if channel.is_direct else clean_line(channel.title)

    def unread(self, beside: str = "") -> int:
        """Unread messages, but for muted channels and the one given."""
        return sum(
            channel.unread for channel in self.channels.values() if not channel.muted and channel.channel_id != beside
        )

    # --- what happens -------------------------------------------------------------------------------------------------

    def meet(self, users: Iterable[account_pb2.User]) -> None:
        """Somebody's profile is known."""
        for user in users:
            self.people[user.user_id] = Person(user.user_id, clean_line(user.username), clean_line(user.display_name))

    def put(self, snapshot: channel_pb2.Channel) -> ChatChannel:
        """The api described a channel."""
        channel = self.channels.get(snapshot.channel_id)
        if channel is None:
            channel = self.channels[snapshot.channel_id] = ChatChannel.of(snapshot, self.me)
            channel.take_receipts(self._early.pop(snapshot.channel_id, ()))
        else:
            channel.refresh(snapshot)
        return channel

    def put_all(self, snapshots: Iterable[channel_pb2.Channel]) -> None:
        """The api listed the channels that the user is in.

        One that is known and not listed stays: events tell of its end, and a list may be older than they are.
        """
        for snapshot in snapshots:
            self.put(snapshot)
        self.is_loaded = True

    def start_over(self, snapshots: Iterable[channel_pb2.Channel]) -> None:
        """Events are missing: the api's list is all that is known of the channels.

        A channel on the screen that is not listed stays there, and nothing comes in.
        """
        listed = list(snapshots)
        kept = {snapshot.channel_id for snapshot in listed}
        for channel_id in [channel_id for channel_id in self.channels if channel_id not in kept]:
            del self.channels[channel_id]
        for channel in self.channels.values():
            channel.forget()
        self.put_all(listed)
        if self.current is not None:
            self.current = self.channels.get(self.current.channel_id, self.current)

    def remove(self, channel: ChatChannel) -> None:
        """The user has left a channel, which goes from the list and from the screen."""
        self.channels.pop(channel.channel_id, None)
        if self.current is channel:
            self.current = None

    def take(self, event: chat_pb2.Event, now: float) -> Need | None:
        """Takes an event of the stream.

        Args:
            event: What happened.
            now: The time in seconds, of any clock that goes on evenly.

        Returns:
            What has to be asked, if anything.
        """
        entry = entry_of(event)
        if entry is not None:
            channel = self.channels.get(entry.channel_id)
            if channel is None:
                return Need.CHANNEL
            channel.take(entry)
            return None
        match event.WhichOneof("body"):
            case "receipt":
                return self._take_receipt(event.receipt)
            case "typing":
                typing = event.typing
                if (channel := self.channels.get(typing.channel_id)) is not None:
                    channel.take_typing(typing.user_id, typing.typing, now)
            case "sync_complete":
                return Need.CHANNELS
            case "sync_reset":
                return Need.EVERYTHING
        return None

    def _take_receipt(self, receipt: chat_pb2.Receipt) -> Need | None:
        channel = self.channels.get(receipt.channel_id)
        if channel is None:
            # What is not known yet is listed or asked for when its first event comes.
            self._early.setdefault(receipt.channel_id, []).extend(receipt.members)
            return None
        channel.take_receipts(receipt.members)
        return Need.CHANNEL if channel.is_unsure else None
