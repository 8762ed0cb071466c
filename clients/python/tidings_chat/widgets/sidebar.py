"""The list of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tidings_chat.channels import MOST_UNREAD, ChatChannel
from tidings_chat.chats import Chats
from tidings_chat.shown import ShownLine
from tidings_chat.widgets.words import words


@dataclass(frozen=True, slots=True)
class SidebarLine:
    """The content of one line of the list."""

    channel_id: str
    sign: ShownLine
    sign_style: str
    name: ShownLine
    count: ShownLine
    is_current: bool
    is_muted: bool
    is_gone: bool

    def prompt(self) -> Table:
        """Makes the line, as wide as the list."""
        table = Table.grid(padding=(0, 1, 0, 0), pad_edge=True, expand=True)
        table.add_column(width=2)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        dim = "dim" if self.is_muted or self.is_gone else ""
        weight = "bold" if self.count or self.is_current else ""
        count_style = "dim" if self.is_muted else "bold reverse"
        table.add_row(
            words((ShownLine(f" {self.sign}"), self.sign_style)),
            words((self.name, f"{dim} {weight}".strip()), overflow="ellipsis"),
            words((ShownLine(f" {self.count} " if self.count else ""), count_style)),
        )
        return table


def lines(chats: Chats, current: ChatChannel | None) -> list[SidebarLine]:
    """Makes the lines of the list.

    Args:
        chats: The model.
        current: The channel on the screen.
    """
    return [_line(chats, channel, channel is current) for channel in chats.ordered()]


def _line(chats: Chats, channel: ChatChannel, is_current: bool) -> SidebarLine:
    if channel.is_direct:
        is_online = chats.online.get(channel.peer, False)
        sign, style = ("●", "green") if is_online else ("○", "dim")
        if channel.peer in chats.blocked:
            sign, style = "⊘", "red"
    else:
        sign, style = "#", "dim"
    unread = channel.unread
    return SidebarLine(
        channel_id=channel.channel_id,
        sign=ShownLine(sign),
        sign_style=style,
        name=chats.name_of(channel),
        count=ShownLine(f"{MOST_UNREAD}+" if unread >= MOST_UNREAD else str(unread or "")),
        is_current=is_current,
        is_muted=channel.muted,
        is_gone=not channel.is_member,
    )


class Sidebar(OptionList):
    """Lists the channels, latest activity first; Enter or a click opens one.

    Args:
        id: The id of the widget.
    """

    DEFAULT_CSS = """
    Sidebar {
        width: 100%;
        height: 1fr;
        border: none;
        padding: 0;
        background: transparent;
        scrollbar-size-vertical: 1;
        &:focus { border: none; background-tint: transparent 0%; }
        scrollbar-color: $foreground 25%;
        scrollbar-background: transparent;
        & > .option-list--option-highlighted { background: $foreground 12%; color: $foreground; text-style: none; }
        &:focus > .option-list--option-highlighted { background: $accent 40%; color: $foreground; text-style: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True)
        self._shown: Sequence[SidebarLine] = ()

    def update_lines(self, lines: Sequence[SidebarLine]) -> None:
        """Shows the channels as they are now. Without the focus, the channel on the screen is highlighted."""
        current = next((line.channel_id for line in lines if line.is_current), None)
        if lines != self._shown:
            highlighted = self.highlighted_option
            keep = highlighted.id if highlighted is not None and self.has_focus else current
            self._shown = lines
            self.set_options([Option(line.prompt(), id=line.channel_id) for line in lines])
            self._highlight(keep)
        elif not self.has_focus:
            self._highlight(current)

    def _highlight(self, channel_id: str | None) -> None:
        index = next((index for index, line in enumerate(self._shown) if line.channel_id == channel_id), None)
        if index != self.highlighted:
            self.highlighted = index
