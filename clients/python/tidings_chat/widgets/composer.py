"""The composer, in which messages are written."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tidings_chat.commands import complete
from tidings_chat.shown import ShownText

_HISTORY = 200


class Composer(TextArea):
    """Edits a text of any number of lines.

    Enter sends it, Alt+Enter and Ctrl+J begin a new line, and the arrows recall what was written before.

    Args:
        id: The id of the widget.
    """

    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 3;
        max-height: 8;
        padding: 0 1;
        border: round $foreground 30%;
        background: transparent;
        scrollbar-size-vertical: 1;
        &:focus { border: round $accent; background: transparent; }
        & .text-area--cursor-line { background: transparent; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Messages")]

    class Submitted(Message):
        """Enter was pressed.

        Args:
            text: The text.

        Attributes:
            text: The text.
        """

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """A key asks for another part of the screen.

        Args:
            key: The key.

        Attributes:
            key: The key.
        """

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", highlight_cursor_line=False
        )
        self._history: list[str] = []
        self._place = 0
        self._unsent = ""

    @property
    def written(self) -> str:
        """The text that Enter submits."""
        return self.text.strip("\n")

    def put(self, text: str) -> None:
        """Shows a text, cleaned, with the cursor at its end."""
        self.text = ShownText(text)
        self.move_cursor(self.document.end)

    def action_leave(self) -> None:
        """Asks to leave for the messages, or to give up an edit or an answer."""
        self.post_message(self.Left("escape"))

    async def _on_paste(self, event: events.Paste) -> None:
        """Cleans what is pasted, before the text area inserts and draws it."""
        event.text = ShownText(event.text)

    async def _on_key(self, event: events.Key) -> None:
        """Handles the keys that mean something else here than in a text editor."""
        match event.key:
            case "enter":
                self._claim(event)
                self._submit()
            case "alt+enter" | "shift+enter" | "ctrl+j":
                self._claim(event)
                self.insert("\n")
            case "up" if self.cursor_at_first_line:
                self._claim(event)
                self._recall(-1)
            case "down" if self.cursor_at_last_line:
                self._claim(event)
                self._recall(1)
            case "pageup" | "pagedown":
                self._claim(event)
                self.post_message(self.Left(event.key))
            case "tab" if (completed := complete(self.text)) != self.text:
                self._claim(event)
                self.put(completed)
            case _:
                await super()._on_key(event)

    def _submit(self) -> None:
        text = self.written
        if not text.strip():
            return
        if not self._history or self._history[-1] != text:
            self._history = [*self._history[-_HISTORY:], text]
        self._place = len(self._history)
        self._unsent = ""
        self.text = ""
        self.post_message(self.Submitted(text))

    def _recall(self, step: int) -> None:
        place = self._place + step
        if not 0 <= place <= len(self._history):
            return
        if self._place == len(self._history):
            self._unsent = self.text
        self._place = place
        self.put(self._unsent if place == len(self._history) else self._history[place])

    @staticmethod
    def _claim(event: events.Key) -> None:
        event.stop()
        event.prevent_default()
