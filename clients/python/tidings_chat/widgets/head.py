"""The top line of the chat screen."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal

from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats
from tidings_chat.shown import ShownLine
from tidings_chat.text import count
from tidings_chat.widgets.words import Part, Words, words
from tidings_client import Status

_STATUS = {
    Status.CONNECTING: ("◌ connecting", "yellow"),
    Status.SYNCING: ("◔ syncing", "yellow"),
    Status.LIVE: ("● live", "green"),
    Status.CLOSED: ("○ closed", "red"),
}


class Head(Horizontal):
    """Shows who is signed in, the channel that is open, and the status of the connection.

    Args:
        name: The user's name.
    """

    DEFAULT_CSS = """
    Head {
        height: 1;
        background: $boost;
        & #brand { width: 26; padding: 0 1; color: $accent; text-style: bold; }
        & #title { width: 1fr; padding: 0 1; }
        & #status { width: auto; padding: 0 1; }
    }
    """

    def __init__(self, name: ShownLine) -> None:
        super().__init__()
        self._user_name = name

    def compose(self) -> ComposeResult:
        """Makes the three parts of the line."""
        yield Words(words(ShownLine(f"tidings · {self._user_name}"), overflow="ellipsis"), id="brand")
        yield Words(id="title")
        yield Words(id="status")

    def update_head(self, chats: Chats, status: Status) -> None:
        """Shows the channel and the status as they are now."""
        channel = chats.current
        text, colour = _STATUS[status]
        beside = chats.unread(channel.channel_id if channel is not None else "")
        unread = f"{beside} unread  " if beside else ""
        self.query_one("#status", Words).show((ShownLine(unread), "bold"), (ShownLine(text), colour))
        self.query_one("#title", Words).show(
            *(_title(chats, channel) if channel is not None else ()), overflow="ellipsis"
        )


def _title(chats: Chats, channel: ChatChannel) -> Iterator[Part]:
    """Makes the title: the channel's name, and what is known of the people in it."""
    yield chats.name_of(channel), "bold"
    if channel.is_direct:
        yield ShownLine(f" {chats.person(channel.peer).handle}"), "dim"
        if channel.peer in chats.blocked:
            yield ShownLine("  blocked"), "red"
        elif chats.online.get(channel.peer):
            yield ShownLine("  online"), "green"
        else:
            yield ShownLine("  offline"), "dim"
    else:
        online = sum(chats.online.get(each, False) for each in channel.members if each != chats.me)
        yield ShownLine(f"  {count(len(channel.members), 'member')}, {online} online"), "dim"
    if channel.muted:
        yield ShownLine("  muted"), "dim"
