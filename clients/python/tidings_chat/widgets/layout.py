"""The layout of rows as lines of a given width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tidings_chat.rows import ChatMessageRow, DayRow, EdgeRow, Mark, NewRow, NoticeRow, Row

FOLD_LINES = 24
"""Of a longer message, this many lines are shown until the user unfolds it."""
_INDENT = 2
_LONGEST_SHOWN = 4_000
_PALETTE = ("#7dcfff", "#9ece6a", "#e0af68", "#bb9af7", "#f7768e", "#73daca", "#7aa2f7")

_Part: TypeAlias = tuple[str, Style]
StyledLine: TypeAlias = Text


@dataclass(frozen=True, slots=True)
class Styles:
    """The styles of the parts of a row."""

    text: Style
    faint: Style
    own_name: Style
    rule: Style
    new: Style
    quote: Style
    failure: Style
    read: Style


def colour_of(user_id: str) -> str:
    """Gives a person's colour, which is the same everywhere and always."""
    return _PALETTE[crc32(user_id.encode()) % len(_PALETTE)]


class Layout:
    """Lays rows out for one width.

    Args:
        console: Wraps texts.
        width: The width of the pane, in cells.
        styles: The styles of the parts of a row.
    """

    def __init__(self, console: Console, width: int, styles: Styles) -> None:
        self._console = console
        self._width = max(width, 12)
        self._styles = styles

    def lines(self, row: Row, unfolded: bool) -> list[StyledLine]:
        """Makes the lines of a row.

        Args:
            row: The row.
            unfolded: Whether a long message is shown whole.
        """
        match row:
            case EdgeRow():
                return [self._centred(row.text), Text()]
            case DayRow():
                return [Text(), self._ruled(row.text, self._styles.rule)]
            case NewRow():
                return [self._ruled("new", self._styles.new)]
            case NoticeRow():
                timed = f"{row.text} · {row.time}"
                text = timed if cell_len(timed) <= self._width - 4 else row.text
                return [self._centred(line) for line in self._plain(text, self._width - 4)]
            case ChatMessageRow():
                return list(self._message(row, unfolded))

    def _message(self, row: ChatMessageRow, unfolded: bool) -> Iterator[StyledLine]:
        """Makes the lines of a message: name and time, quotation, text with its mark, and why it failed."""
        styles = self._styles
        if not row.is_continued:
            yield Text()
            name = styles.own_name if row.is_mine else Style(color=colour_of(row.sender_id), bold=True)
            yield Text.assemble((self._cut(row.sender, self._width - 10), name), ("  " + row.time, styles.faint))
        if row.quote:
            yield self._indented(Text(self._cut(f"┃ {row.quote}", self._width - _INDENT), styles.quote))
        if row.deleted:
            yield self._indented(Text("deleted", styles.faint + Style(italic=True)))
            return
        lines = self._wrapped(row.text, unfolded)
        parts: list[_Part] = [("  edited", styles.faint)] if row.edited else []
        if row.mark is not Mark.NONE:
            parts.append((f"  {row.mark.value}", self._mark_style(row.mark)))
        if row.remark and row.mark is not Mark.FAILED:
            parts.append((f" {row.remark}", styles.faint))
        ending = Text.assemble(*parts)
        if parts and lines[-1].cell_len + ending.cell_len <= self._width - _INDENT:
            lines[-1].append_text(ending)
        elif parts:
            ending = ending[2:]
            ending.truncate(self._width - _INDENT, overflow="ellipsis")
            lines.append(ending)
        for line in lines:
            yield self._indented(line)
        if row.mark is Mark.FAILED:
            for words in self._plain(f"not sent: {row.remark} (/retry or /discard)", self._width - _INDENT):
                yield self._indented(Text(words, styles.failure))

    def _mark_style(self, mark: Mark) -> Style:
        match mark:
            case Mark.READ:
                return self._styles.read
            case Mark.FAILED:
                return self._styles.failure
            case _:
                return self._styles.faint

    def _wrapped(self, text: str, unfolded: bool) -> list[Text]:
        shown = text if unfolded else text[:_LONGEST_SHOWN]
        lines = list(
            Text(shown, self._styles.text).wrap(self._console, self._width - _INDENT, tab_size=4, overflow="fold")
        ) or [Text()]
        if unfolded or (len(lines) <= FOLD_LINES and len(shown) == len(text)):
            return lines
        more = f"… {len(text):,} characters; Enter on the selected message shows them"
        return [*lines[:FOLD_LINES], Text(self._cut(more, self._width - _INDENT), self._styles.faint)]

    def _plain(self, text: str, width: int) -> list[str]:
        return [line.plain for line in Text(text).wrap(self._console, width, overflow="fold")]

    def _centred(self, text: str) -> Text:
        text = self._cut(text, self._width)
        return Text.assemble(" " * ((self._width - cell_len(text)) // 2), (text, self._styles.faint))

    def _ruled(self, text: str, style: Style) -> Text:
        left = (self._width - cell_len(text) - 2) // 2
        right = self._width - cell_len(text) - 2 - left
        return Text.assemble(("─" * left, self._styles.rule), (f" {text} ", style), ("─" * right, self._styles.rule))

    @staticmethod
    def _cut(text: str, width: int) -> str:
        return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"

    @staticmethod
    def _indented(line: Text) -> Text:
        return Text(" " * _INDENT).append_text(line)
