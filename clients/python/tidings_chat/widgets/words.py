"""The way of a text into a widget: shown texts alone, and never as markup."""

from __future__ import annotations

from typing import Literal

from rich.text import Text
from textual import events
from textual.content import Content
from textual.widgets import Input, Static

from tidings_chat.shown import ShownLine, ShownText

Part = ShownText | tuple[ShownText, str]
"""A text, or a text and its style."""


def words(*parts: Part, overflow: Literal["fold", "ellipsis"] = "fold") -> Text:
    """Puts parts of a text together for a widget, a table or an option.

    Args:
        parts: The parts, from left to right.
        overflow: Whether what does not fit goes on in the next line, or is cut.
    """
    text = Text(overflow=overflow, no_wrap=overflow == "ellipsis")
    for part in parts:
        if isinstance(part, tuple):
            text.append(*part)
        else:
            text.append(part)
    return text


def border_words(text: ShownText) -> Content:
    """Makes the title of a border, where Textual takes a plain string for markup."""
    return Content(ShownLine(text))


class LineInput(Input):
    """Asks for a line of text, and cleans what is pasted before it is drawn."""

    def _on_paste(self, event: events.Paste) -> None:
        event.text = ShownLine(event.text)


class Words(Static):
    """Shows a text, and has no other way to be given one.

    Args:
        text: What it shows first.
        id: The id of the widget.
        classes: Its classes.
    """

    def __init__(self, text: Text | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(text if text is not None else Text(), id=id, classes=classes, markup=False)

    def show(self, *parts: Part, overflow: Literal["fold", "ellipsis"] = "fold") -> None:
        """Shows another text; the arguments are those of `words`."""
        self.update(words(*parts, overflow=overflow))
