"""The chat screen."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, OptionList, TextArea

from tidings.v1 import chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.commands import CommandError, SlashCommand, parse
from tidings_chat.rows import ChatMessageRow, Row, rows
from tidings_chat.screens.command_runner import CommandRunner
from tidings_chat.session import ChatSession
from tidings_chat.shown import NOTHING, ShownLine, ShownText
from tidings_chat.text import count, joined
from tidings_chat.widgets.composer import Composer
from tidings_chat.widgets.head import Head
from tidings_chat.widgets.message_pane import MessagePane
from tidings_chat.widgets.sidebar import Sidebar, lines
from tidings_chat.widgets.words import Words

# All changes within this time are drawn at once.
_DRAW_SECONDS = 0.03
_TOAST_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class _Target:
    """The message that the text in the composer answers or changes."""

    seq: int
    banner: ShownLine
    edited: str | None = None
    """The text to change, as the composer showed it; None when the message is being answered."""


@dataclass(slots=True)
class _Draft:
    """A text that was being written in a channel when another was opened."""

    text: str = ""
    target: _Target | None = None


class ChatScreen(Screen[None]):
    """Shows the channels on the left, and the one that is open on the right.

    Args:
        session: The session to show, which calls `changed`, `arrived`, `appeared` and `failed`.
        log_out: Signs the device out.
        leave_app: Ends the program.
    """

    DEFAULT_CSS = """
    ChatScreen {
        layout: vertical;
        & #body { height: 1fr; }
        & #side { width: 26; border-right: solid $foreground 20%; padding: 1 0 0 0; }
        & #hint { padding: 0 1; color: $foreground 60%; }
        & #typing { height: 1; padding: 0 2; color: $foreground 60%; }
        & #banner { height: 1; padding: 0 2; color: $accent; display: none; }
        &.narrow #side, &.narrow #brand { display: none; }
        &.hidden-side #side { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "command('help')", "Help", priority=True),
        Binding("ctrl+n", "command('new')", "New chat", priority=True),
        Binding("ctrl+g", "command('group')", "New group", priority=True),
        Binding("f2", "command('members')", "Members", priority=True),
        Binding("ctrl+b", "toggle_side", "Channels", show=False, priority=True),
        Binding("alt+up", "step(-1)", "Previous", show=False, priority=True),
        Binding("alt+down", "step(1)", "Next", show=False, priority=True),
    ]

    def __init__(
        self,
        session: ChatSession,
        *,
        log_out: Callable[[], Awaitable[None]],
        leave_app: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (64, "wide")]
        self.session = session
        self._chats = session.chats
        self._log_out = log_out
        self._leave_app = leave_app
        self._commands = CommandRunner(self)
        self._new_after = 0
        self._target: _Target | None = None
        self._drafts: dict[str, _Draft] = {}
        self._is_drawing_due = False

    def compose(self) -> ComposeResult:
        """Makes the parts of the screen."""
        yield Head(self._chats.person(self._chats.me).name)
        with Horizontal(id="body"):
            with Vertical(id="side"):
                yield Words(id="hint")
                yield Sidebar(id="sidebar")
            with Vertical(id="main"):
                yield MessagePane(id="messages")
                yield Words(id="typing")
                yield Words(id="banner")
                yield Composer(id="composer")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Draws the screen for the first time."""
        self.query_one(Composer).focus()
        self.set_interval(1.0, self._draw_typing)
        self._draw()

    # --- told by the session ------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Draws the model soon, since it has changed."""
        if not self._is_drawing_due and self.is_mounted:
            self._is_drawing_due = True
            self.set_timer(_DRAW_SECONDS, self._draw)

    def arrived(self, channel: ChatChannel, message: chat_pb2.Message) -> None:
        """Announces a message that somebody else has written, unless the channel is muted or on the screen."""
        if channel.muted:
            return
        if not self.app.app_focus:
            self.app.bell()
        if channel is not self._chats.current:
            sender = self._chats.person(message.sender_id).name
            text = ShownLine(message.text[:_TOAST_CHARACTERS])
            title = sender if channel.is_direct else ShownLine(f"{sender} in {self._chats.name_of(channel)}")
            self._tell(text, title=title)

    def appeared(self, channel: ChatChannel) -> None:
        """Announces a channel in which somebody has written to the user, or to which they were added."""
        text = "writes to you for the first time" if channel.is_direct else "you are in this group now"
        if not self.app.app_focus:
            self.app.bell()
        self._tell(ShownLine(text), title=self._chats.name_of(channel))

    def failed(self, text: ShownLine) -> None:
        """Shows that something did not work."""
        self.complain(text)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        """Brings all parts of the screen up to date with the model."""
        self._is_drawing_due = False
        if not self._can_draw:
            return
        channel = self._chats.current
        if channel is None and self._chats.is_loaded and self._chats.channels:
            self.open_channel(self._chats.ordered()[0])
            return
        if channel is not None:
            self._note_unread(channel)
            self.query_one(MessagePane).update_rows(self._rows(channel))
            self._read(channel)
        elif self.query_one(MessagePane).rows:
            self.query_one(MessagePane).begin(())
        self.query_one(Sidebar).update_lines(lines(self._chats, channel))
        self.query_one(Head).update_head(self._chats, self.session.status)
        self._draw_hints(channel)
        self._draw_typing()
        self.session.loader.complete()

    @property
    def _can_draw(self) -> bool:
        """Whether there is something to draw on: a screen that goes loses its parts before it is gone itself.

        Under another screen it is not drawn either, but when it comes back.
        """
        return self.is_current and self.display

    def _rows(self, channel: ChatChannel) -> list[Row]:
        return rows(self._chats, channel, self._new_after, datetime.now().astimezone())

    def _draw_hints(self, channel: ChatChannel | None) -> None:
        hint = self.query_one("#hint", Words)
        hint.display = not self._chats.channels
        keys = "Ctrl+N talks to somebody,\nCtrl+G makes a group"
        hint.show(ShownText(keys if self._chats.is_loaded else "loading …"))
        composer = self.query_one(Composer)
        gone = channel is not None and not channel.is_member
        composer.placeholder = "" if gone else "Write a message, or / and a command"
        composer.border_subtitle = "you are not in this group any more" if gone else "Enter sends"

    def _draw_typing(self) -> None:
        if not self._can_draw:
            return
        channel = self._chats.current
        line = self.query_one("#typing", Words)
        if channel is None:
            line.show()
            return
        names = [self._chats.person(user_id).name for user_id in channel.typing(time.monotonic())]
        parts = []
        if not self.query_one(MessagePane).is_at_end:
            parts.append(f"↓ {count(channel.unread, 'new message')} below" if channel.unread else "↓ more below")
        if names:
            parts.append(f"{joined(names[:3])} {'is' if len(names) == 1 else 'are'} typing …")
        line.show(ShownLine("   ".join(parts)), overflow="ellipsis")

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def _is_looked_at(self) -> bool:
        return self.app.app_focus and self.app.screen is self and self.query_one(MessagePane).is_at_end

    def _note_unread(self, channel: ChatChannel) -> None:
        if channel.unread and not self._new_after and not self._is_looked_at:
            self._new_after = channel.read_seq

    def _read(self, channel: ChatChannel) -> None:
        if channel.timeline.is_loaded and self._is_looked_at:
            self.session.sender.read(channel)

    def on_screen_resume(self) -> None:
        """Draws the screen again when a dialog is closed."""
        self.changed()

    @on(MessagePane.Moved)
    def _moved(self) -> None:
        self.changed()

    @on(MessagePane.OlderWanted)
    def _older_wanted(self) -> None:
        if self._chats.current is not None:
            self.session.loader.load_older(self._chats.current)

    # --- channels -----------------------------------------------------------------------------------------------------

    def open_channel(self, channel: ChatChannel) -> None:
        """Puts a channel on the screen, with the text that was being written in it."""
        before = self._chats.current
        composer = self.query_one(Composer)
        if before is not channel:
            if before is not None:
                self._drafts[before.channel_id] = _Draft(composer.text, self._target)
                self.session.sender.compose(before, False)
            self._new_after = channel.read_seq if channel.unread else 0
            self.session.loader.show(channel)
            self.query_one(MessagePane).begin(self._rows(channel))
            draft = self._drafts.pop(channel.channel_id, _Draft())
            self._aim(draft.target)
            composer.put(draft.text)
        composer.focus()
        self._draw()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        channel = self._chats.channels.get(event.option_id or "")
        if channel is not None:
            self.open_channel(channel)

    def action_step(self, step: int) -> None:
        """Opens the channel above or below."""
        ordered = self._chats.ordered()
        if not ordered:
            return
        current = self._chats.current
        index = ordered.index(current) + step if current in ordered else 0
        self.open_channel(ordered[index % len(ordered)])

    def action_toggle_side(self) -> None:
        """Hides or shows the channels."""
        self.remove_class("narrow")
        self.toggle_class("hidden-side")

    # --- writing ------------------------------------------------------------------------------------------------------

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        """Runs a command, or sends a message, an answer or an edit."""
        target = self._target
        try:
            parsed = event.text if target is not None else parse(event.text)
        except CommandError as error:
            self.query_one(Composer).put(event.text)
            self.complain(ShownLine(str(error)))
            return
        if isinstance(parsed, SlashCommand):
            self._run(parsed)
            return
        channel = self._chats.current
        if channel is None:
            self.query_one(Composer).put(event.text)
            self.complain(ShownLine("open a channel first: Ctrl+N talks to somebody, Ctrl+G makes a group"))
            return
        self._new_after = 0
        self._aim(None)
        if target is not None and target.edited is not None:
            if parsed != target.edited:
                self.session.sender.edit(channel, target.seq, parsed)
        else:
            self.session.sender.send(channel, parsed, target.seq if target is not None else 0)
        pane = self.query_one(MessagePane)
        pane.clear_selection()
        pane.action_to_end()

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        channel = self._chats.current
        if channel is not None and not event.text_area.text.startswith("/"):
            self.session.sender.compose(channel, bool(event.text_area.text))

    @on(Composer.Left)
    def _left(self, event: Composer.Left) -> None:
        pane = self.query_one(MessagePane)
        if event.key == "escape" and self._target is not None:
            if self._target.edited is not None:
                self.query_one(Composer).text = ""
            self._aim(None)
        elif event.key == "escape":
            pane.focus()
        else:
            pane.action_page(-1 if event.key == "pageup" else 1)

    @on(MessagePane.Asked)
    def _asked(self, event: MessagePane.Asked) -> None:
        if event.what == "leave":
            self.query_one(MessagePane).clear_selection()
            self.query_one(Composer).focus()
        else:
            self._run(SlashCommand(event.what))

    def action_command(self, word: str) -> None:
        """Runs a command without arguments."""
        if self.app.screen is self:
            self._run(SlashCommand(word))

    def _run(self, command: SlashCommand) -> None:
        self.run_worker(self._commands.run(command), group="commands")

    def _aim(self, target: _Target | None) -> None:
        self._target = target
        banner = self.query_one("#banner", Words)
        banner.display = target is not None
        if target is not None:
            banner.show(target.banner, overflow="ellipsis")

    # --- for commands -------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> ChatMessageRow | None:
        """The selected message."""
        return self.query_one(MessagePane).selected

    @property
    def messages(self) -> Sequence[ChatMessageRow]:
        """The messages on the screen that are accepted and not deleted."""
        shown = self.query_one(MessagePane).rows
        return [row for row in shown if isinstance(row, ChatMessageRow) and row.seq and not row.deleted]

    def begin_edit(self, row: ChatMessageRow) -> None:
        """Puts a message into the composer to be changed."""
        item = self._chats.current.timeline.message(row.seq) if self._chats.current is not None else None
        composer = self.query_one(Composer)
        composer.put(item.text if item is not None else row.text)
        self._begin(_Target(row.seq, ShownLine("editing; Esc gives it up"), edited=composer.written))

    def begin_reply(self, row: ChatMessageRow) -> None:
        """Makes the next message an answer to this one."""
        whom = "yourself" if row.is_mine else row.sender
        self._begin(_Target(row.seq, ShownLine(f"answering {whom}: {row.text[:200]}")))

    def _begin(self, target: _Target) -> None:
        self._aim(target)
        self.query_one(Composer).focus()

    def say(self, text: ShownLine) -> None:
        """Shows a text beside the conversation."""
        self._tell(text)

    def complain(self, text: ShownLine) -> None:
        """Shows that something did not work."""
        self.app.notify(text, severity="error", timeout=6, markup=False)

    def _tell(self, text: ShownLine, *, title: ShownLine = NOTHING) -> None:
        self.app.notify(text, title=title, timeout=4, markup=False)

    async def log_out(self) -> None:
        """Signs the device out."""
        await self._log_out()

    async def leave_app(self) -> None:
        """Ends the program."""
        await self._leave_app()
