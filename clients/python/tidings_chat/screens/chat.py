"""The screen on which one talks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static, TextArea

from tidings.v1 import chat_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.commands import CommandError, SlashCommand, parse
from tidings_chat.rows import ChatMessageRow, rows
from tidings_chat.screens.command_runner import CommandRunner
from tidings_chat.session import ChatSession
from tidings_chat.text import clean_line, count, joined
from tidings_chat.widgets.composer import Composer
from tidings_chat.widgets.message_pane import MessagePane
from tidings_chat.widgets.sidebar import Sidebar, lines
from tidings_client import Status

# What happens within this time is drawn once.
_DRAW_SECONDS = 0.03
_TOAST_CHARACTERS = 80

_STATUS = {
    Status.CONNECTING: ("◌ connecting", "yellow"),
    Status.SYNCING: ("◔ syncing", "yellow"),
    Status.LIVE: ("● live", "green"),
    Status.CLOSED: ("○ closed", "red"),
}


@dataclass(frozen=True, slots=True)
class _Target:
    """What the text that is being written is about."""

    seq: int
    banner: str
    edited: str | None = None
    """The text to change, as the composer showed it; None when the message is being answered."""


@dataclass(slots=True)
class _Draft:
    """What was being written in a channel when another was opened."""

    text: str = ""
    target: _Target | None = None


class ChatScreen(Screen[None]):
    """Channels on the left, the one that is open on the right."""

    DEFAULT_CSS = """
    ChatScreen {
        layout: vertical;
        & #head { height: 1; background: $boost; }
        & #brand { width: 26; padding: 0 1; color: $accent; text-style: bold; }
        & #title { width: 1fr; padding: 0 1; }
        & #status { width: auto; padding: 0 1; }
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
        """Shows a session.

        Args:
            session: What to show; `changed`, `arrived` and `failed` of this screen are for it to call.
            log_out: Signs the device out.
            leave_app: Ends the program.
        """
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (64, "wide")]
        self.session = session
        self._log_out = log_out
        self._leave_app = leave_app
        self._commands = CommandRunner(self)
        self._new_after = 0
        self._target: _Target | None = None
        self._drafts: dict[str, _Draft] = {}
        self._is_drawing_due = False

    def compose(self) -> ComposeResult:
        """The parts."""
        with Horizontal(id="head"):
            yield Static("tidings", id="brand")
            yield Static(id="title")
            yield Static(id="status")
        with Horizontal(id="body"):
            with Vertical(id="side"):
                yield Static(id="hint")
                yield Sidebar(id="sidebar")
            with Vertical(id="main"):
                yield MessagePane(id="messages")
                yield Static(id="typing")
                yield Static(id="banner")
                yield Composer(id="composer")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Draws what there is, and what there will be."""
        me = self.session.chats.person(self.session.chats.me)
        self.query_one("#brand", Static).update(Text(f"tidings · {me.name}", overflow="ellipsis", no_wrap=True))
        self.query_one(Composer).focus()
        self.set_interval(1.0, self._draw_typing)
        self._draw()

    # --- what the session tells ---------------------------------------------------------------------------------------

    def changed(self) -> None:
        """The model is another than before: it is drawn soon."""
        if not self._is_drawing_due and self.is_mounted:
            self._is_drawing_due = True
            self.set_timer(_DRAW_SECONDS, self._draw)

    def arrived(self, channel: ChatChannel, message: chat_pb2.Message) -> None:
        """Somebody has written something: it rings unless it is being read."""
        if channel.muted:
            return
        if not self.app.app_focus:
            self.app.bell()
        if channel is not self.session.current:
            chats = self.session.chats
            sender = chats.person(message.sender_id).name
            text = clean_line(message.text[:_TOAST_CHARACTERS])
            title = sender if channel.is_direct else f"{sender} in {chats.name_of(channel)}"
            self.app.notify(text, title=title, timeout=4, markup=False)

    def appeared(self, channel: ChatChannel) -> None:
        """Somebody has begun to talk to the user, or has put them in a group."""
        chats = self.session.chats
        text = "writes to you for the first time" if channel.is_direct else "you are in this group now"
        if not self.app.app_focus:
            self.app.bell()
        self.app.notify(text, title=chats.name_of(channel), timeout=4, markup=False)

    def failed(self, text: str) -> None:
        """Something did not work."""
        self.complain(text)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._is_drawing_due = False
        if not self.is_current:
            # Nothing is left to draw on, or it is drawn when the screen comes back.
            return
        session = self.session
        chats, channel = session.chats, session.current
        if channel is None and chats.is_loaded and chats.channels:
            self.open_channel(chats.ordered()[0])
            return
        if channel is not None:
            self._note_unread(channel)
            self.query_one(MessagePane).update_rows(rows(chats, channel, self._new_after, datetime.now().astimezone()))
            self._read(channel)
        elif self.query_one(MessagePane).rows:
            self.query_one(MessagePane).begin(())
        self.query_one(Sidebar).update_lines(lines(chats, channel))
        self._draw_head(channel)
        self._draw_typing()
        session.complete()

    def _draw_head(self, channel: ChatChannel | None) -> None:
        chats = self.session.chats
        text, colour = _STATUS[self.session.status]
        beside = chats.unread(channel.channel_id if channel is not None else "")
        unread = f"{beside} unread  " if beside else ""
        self.query_one("#status", Static).update(Text.assemble((unread, "bold"), (text, colour)))
        hint = self.query_one("#hint", Static)
        hint.display = not chats.channels
        hint.update("Ctrl+N talks to somebody,\nCtrl+G makes a group" if chats.is_loaded else "loading …")
        self.query_one("#title", Static).update(self._title(channel) if channel is not None else Text())
        composer = self.query_one(Composer)
        gone = channel is not None and not channel.is_member
        composer.placeholder = "" if gone else "Write a message, or / and a command"
        composer.border_subtitle = "you are not in this group any more" if gone else "Enter sends"

    def _title(self, channel: ChatChannel) -> Text:
        chats = self.session.chats
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

    def _draw_typing(self) -> None:
        channel = self.session.current
        line = self.query_one("#typing", Static)
        if channel is None:
            line.update("")
            return
        chats = self.session.chats
        names = [chats.person(user_id).name for user_id in channel.typing(time.monotonic())]
        parts = []
        if not self.query_one(MessagePane).is_at_end:
            parts.append(f"↓ {count(channel.unread, 'new message')} below" if channel.unread else "↓ more below")
        if names:
            parts.append(f"{joined(names[:3])} {'is' if len(names) == 1 else 'are'} typing …")
        line.update(Text("   ".join(parts), no_wrap=True, overflow="ellipsis"))

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def _is_looked_at(self) -> bool:
        return self.app.app_focus and self.app.screen is self and self.query_one(MessagePane).is_at_end

    def _note_unread(self, channel: ChatChannel) -> None:
        if channel.unread and not self._new_after and not self._is_looked_at:
            self._new_after = channel.read_seq

    def _read(self, channel: ChatChannel) -> None:
        if channel.timeline.is_loaded and self._is_looked_at:
            self.session.read(channel)

    def on_screen_resume(self) -> None:
        """A dialog is gone."""
        self.changed()

    @on(MessagePane.Moved)
    def _moved(self) -> None:
        self.changed()

    @on(MessagePane.OlderWanted)
    def _older_wanted(self) -> None:
        if self.session.current is not None:
            self.session.load_older(self.session.current)

    # --- channels -----------------------------------------------------------------------------------------------------

    def open_channel(self, channel: ChatChannel) -> None:
        """Puts a channel on the screen."""
        before = self.session.current
        composer = self.query_one(Composer)
        if before is not channel:
            if before is not None:
                self._drafts[before.channel_id] = _Draft(composer.text, self._target)
                self.session.compose(before, False)
            self._new_after = channel.read_seq if channel.unread else 0
            self.session.show(channel)
            self.query_one(MessagePane).begin(
                rows(self.session.chats, channel, self._new_after, datetime.now().astimezone())
            )
            draft = self._drafts.pop(channel.channel_id, _Draft())
            self._aim(draft.target)
            composer.put(draft.text)
        composer.focus()
        self._draw()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        channel = self.session.chats.channels.get(event.option_id or "")
        if channel is not None:
            self.open_channel(channel)

    def action_step(self, step: int) -> None:
        """Opens the channel above or below."""
        ordered = self.session.chats.ordered()
        if not ordered:
            return
        current = self.session.current
        index = ordered.index(current) + step if current in ordered else 0
        self.open_channel(ordered[index % len(ordered)])

    def action_toggle_side(self) -> None:
        """Hides or shows the channels."""
        self.remove_class("narrow")
        self.toggle_class("hidden-side")

    # --- writing ------------------------------------------------------------------------------------------------------

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        target = self._target
        try:
            parsed = event.text if target is not None else parse(event.text)
        except CommandError as error:
            self.query_one(Composer).put(event.text)
            self.complain(str(error))
            return
        if isinstance(parsed, SlashCommand):
            self._run(parsed)
            return
        channel = self.session.current
        if channel is None:
            self.query_one(Composer).put(event.text)
            self.complain("open a channel first: Ctrl+N talks to somebody, Ctrl+G makes a group")
            return
        self._new_after = 0
        self._aim(None)
        if target is not None and target.edited is not None:
            if parsed != target.edited:
                self.session.edit(channel, target.seq, parsed)
        else:
            self.session.send(channel, parsed, target.seq if target is not None else 0)
        pane = self.query_one(MessagePane)
        pane.clear_selection()
        pane.action_to_end()

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        channel = self.session.current
        if channel is not None and not event.text_area.text.startswith("/"):
            self.session.compose(channel, bool(event.text_area.text))

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
        """Does what a command without arguments asks."""
        if self.app.screen is self:
            self._run(SlashCommand(word))

    def _run(self, command: SlashCommand) -> None:
        self.run_worker(self._commands.run(command), group="commands")

    def _aim(self, target: _Target | None) -> None:
        self._target = target
        banner = self.query_one("#banner", Static)
        banner.display = target is not None
        if target is not None:
            banner.update(Text(target.banner, no_wrap=True, overflow="ellipsis"))

    # --- what commands need -------------------------------------------------------------------------------------------

    @property
    def selected(self) -> ChatMessageRow | None:
        """The selected message."""
        return self.query_one(MessagePane).selected

    @property
    def messages(self) -> Sequence[ChatMessageRow]:
        """All messages shown that have been accepted and not deleted."""
        shown = self.query_one(MessagePane).rows
        return [row for row in shown if isinstance(row, ChatMessageRow) and row.seq and not row.deleted]

    def begin_edit(self, row: ChatMessageRow) -> None:
        """Lets a message be rewritten."""
        item = self.session.current.timeline.message(row.seq) if self.session.current is not None else None
        composer = self.query_one(Composer)
        composer.put(item.text if item is not None else row.text)
        self._begin(_Target(row.seq, "editing; Esc gives it up", edited=composer.written))

    def begin_reply(self, row: ChatMessageRow) -> None:
        """Lets a message be answered."""
        whom = "yourself" if row.is_mine else row.sender
        self._begin(_Target(row.seq, f"answering {whom}: {clean_line(row.text[:200])}"))

    def _begin(self, target: _Target) -> None:
        self._aim(target)
        self.query_one(Composer).focus()

    def say(self, text: str) -> None:
        """Tells something."""
        self.app.notify(text, timeout=4, markup=False)

    def complain(self, text: str) -> None:
        """Tells that something did not work."""
        self.app.notify(text, severity="error", timeout=6, markup=False)

    async def log_out(self) -> None:
        """Signs the device out."""
        await self._log_out()

    async def leave_app(self) -> None:
        """Ends the program."""
        await self._leave_app()
