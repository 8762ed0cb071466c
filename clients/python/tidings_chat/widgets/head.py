"""The top line of the chat screen."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats
from tidings_chat.text import count
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

    def __init__(self, name: str) -> None:
        super().__init__()
        self._user_name = name

    def compose(self) -> ComposeResult:
        """Makes the three parts of the line."""
        yield Static(Text(f"tidings · {self._user_name}", overflow="ellipsis", no_wrap=True), id="brand")
        yield Static(id="title")
        yield Static(id="status")

    def update_head(self, chats: Chats, status: Status) -> None:
        """Shows the channel and the status as they are now."""
        channel = chats.current
        text, colour = _STATUS[status]
        beside = chats.unread(channel.channel_id if channel is not None else "")
        unread = f"{beside} unread  " if beside else ""
        self.query_one("#status", Static).update(Text.assemble((unread, "bold"), (text, colour)))
        self.query_one("#title", Static).update(_title(chats, channel) if channel is not None else Text())


def _title(chats: Chats, channel: ChatChannel) -> Text:
    """Makes the title: the channel's name, and what is known of the people in it."""
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(chats.name_of(channel), "bold")
    if channel.is_direct:
        person = chats.person(channel.peer)
        title.append(f" @{person.username}", "dim")
        if channel.peer in chats.blocked:
            title.append("  blocked", "red")
        elif chats.online.get(channel.peer):
            title.append("  online", "green")
        else:
            title.append("  offline", "dim")
    else:
        online = sum(chats.online.get(each, False) for each in channel.members if each != chats.me)
        title.append(f"  {count(len(channel.members), 'member')}, {online} online", "dim")
    if channel.muted:
        title.append("  muted", "dim")
    return title
