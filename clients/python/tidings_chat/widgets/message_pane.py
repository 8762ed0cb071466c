"""The messages of a channel, drawn line by line so that a long history stays quick."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tidings_chat.rows import ChatMessageRow, NoticeRow, Row
from tidings_chat.widgets.layout import Layout, Styles

# The distance to the top at which the next page is loaded: it comes before somebody who scrolls gets to the top.
_NEAR_TOP_LINES = 10


class MessagePane(ScrollView, can_focus=True):
    """Shows rows. At the end it stays at the end; elsewhere, what is on the screen does not move.

    Args:
        id: The id of the widget.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "message-pane--text",
        "message-pane--faint",
        "message-pane--own-name",
        "message-pane--rule",
        "message-pane--new",
        "message-pane--quote",
        "message-pane--failure",
        "message-pane--read",
        "message-pane--selected",
    }
    DEFAULT_CSS = """
    MessagePane {
        height: 1fr;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 25%;
        scrollbar-background: transparent;
        & .message-pane--text { color: $foreground; }
        & .message-pane--faint { color: $foreground 50%; }
        & .message-pane--own-name { color: $accent; text-style: bold; }
        & .message-pane--rule { color: $foreground 40%; }
        & .message-pane--new { color: $error; text-style: bold; }
        & .message-pane--quote { color: $foreground 65%; text-style: italic; }
        & .message-pane--failure { color: $error; }
        & .message-pane--read { color: $accent; }
        & .message-pane--selected { background: $accent 22%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "select(-1)", "Select", key_display="↑↓"),
        Binding("down,j", "select(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "to_start", "Oldest", show=False),
        Binding("end,G", "to_end", "Latest", show=False),
        Binding("enter", "unfold", "Show all", show=False),
        Binding("r", "ask('reply')", "Reply"),
        Binding("e", "ask('edit')", "Edit"),
        Binding("d,delete", "ask('delete')", "Delete", key_display="d"),
        Binding("escape", "ask('leave')", "Write"),
    ]

    class OlderWanted(Message):
        """The top is near, and older rows may be wanted."""

    class Moved(Message):
        """The view moved to the end, or away from it."""

    class Asked(Message):
        """A key asked for something to be done with the selected message.

        Args:
            what: "reply", "edit", "delete", or "leave" for the pane itself.

        Attributes:
            what: The same.
        """

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._lines: list[list[Strip]] = []
        self._starts: list[int] = []
        self._height = 0
        self._cache: dict[tuple[Row, bool, bool], list[Strip]] = {}
        self._cached_for: tuple[object, ...] = ()
        self._unfolded: set[str] = set()
        self._was_at_end = True
        self.selected_key = ""
        """The key of the selected row; empty for none."""

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that are shown."""
        return self._rows

    @property
    def selected(self) -> ChatMessageRow | None:
        """The selected message; None when there is none."""
        return next(
            (row for row in self._rows if isinstance(row, ChatMessageRow) and row.key == self.selected_key), None
        )

    @property
    def is_at_end(self) -> bool:
        """Whether the latest row is in view."""
        return self.scroll_offset.y >= self.max_scroll_y

    def begin(self, rows: Sequence[Row]) -> None:
        """Shows another channel, from its end."""
        self.selected_key = ""
        self._unfolded.clear()
        self._was_at_end = True
        self._rows = rows
        self._lay_out()
        self._go_to_end()

    def update_rows(self, rows: Sequence[Row]) -> None:
        """Shows the same channel as it is now."""
        if rows == self._rows:
            return
        was_at_end = self.is_at_end
        key, offset = self._anchor()
        self._rows = rows
        self._lay_out()
        if was_at_end:
            self._go_to_end()
        else:
            for row, start in zip(rows, self._starts, strict=True):
                if row.key == key:
                    self.scroll_to(y=start + offset, animate=False, force=True, immediate=True)
                    break
        self._look_up()

    def select_last(self) -> None:
        """Selects the latest message, unless one is selected."""
        if self.selected is None:
            self._select_at(len(self._rows), -1)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draws one line of the screen."""
        width = self.size.width
        # When there are few messages, they are at the bottom, where the next one comes.
        line = y + self.scroll_offset.y - max(0, self.size.height - self._height)
        if not 0 <= line < self._height:
            return Strip.blank(width, self.rich_style)
        index = bisect_right(self._starts, line) - 1
        strip = self._lines[index][line - self._starts[index]]
        return strip.apply_style(self.rich_style)

    def notify_style_update(self) -> None:
        """Draws everything again, since the theme has changed."""
        super().notify_style_update()
        self._lay_out()

    def _on_resize(self, event: events.Resize) -> None:
        was_at_end = self._was_at_end
        self._lay_out()
        if was_at_end:
            self._go_to_end()
        self._look_up()

    def _lay_out(self) -> None:
        """Draws the rows that have changed, and takes the others from the cache."""
        width = self.scrollable_content_region.width
        if not width:
            return
        names = ("text", "faint", "own-name", "rule", "new", "quote", "failure", "read")
        styles = Styles(**{name.replace("-", "_"): self._style(name) for name in names})
        _, ground = self.background_colors
        selected_style = Style(
            bgcolor=(ground + self.get_component_styles("message-pane--selected").background).rich_color
        )
        if self._cached_for != (width, styles, selected_style):
            self._cached_for = (width, styles, selected_style)
            self._cache = {}
        layout = Layout(self.app.console, width, styles)
        kept: dict[tuple[Row, bool, bool], list[Strip]] = {}
        self._lines, self._starts, self._height = [], [], 0
        for row in self._rows:
            is_selected, unfolded = row.key == self.selected_key, row.key in self._unfolded
            key = row, is_selected, unfolded
            strips = self._cache.get(key)
            if strips is None:
                strips = []
                for line in layout.lines(row, unfolded):
                    segments = [Segment(text, style) for text, style, _ in line.render(self.app.console)]
                    strip = Strip(segments).adjust_cell_length(width)
                    # The blank line above a message does not belong to it.
                    is_marked = is_selected and bool(line.plain)
                    strips.append(strip.apply_style(selected_style) if is_marked else strip)
            kept[key] = strips
            self._lines.append(strips)
            self._starts.append(self._height)
            self._height += len(strips)
        self._cache = kept
        self.virtual_size = Size(width, self._height)
        self.refresh()

    def _style(self, name: str) -> Style:
        # Transparent colours are mixed with the ground here, since drawn lines have only solid ones.
        styles = self.get_component_styles(f"message-pane--{name}")
        _, ground = self.background_colors
        return Style(color=(ground + styles.color).rich_color) + styles.text_style

    def _anchor(self) -> tuple[str, int]:
        """Finds the row by which the view is held, and how many of its lines are above the top.

        It is the first row that is in the log: the others, such as that of a day, may move when older rows come.
        """
        if not self._starts:
            return "", 0
        top = self.scroll_offset.y
        index = bisect_right(self._starts, top) - 1
        while index < len(self._rows) - 1 and not isinstance(self._rows[index], ChatMessageRow | NoticeRow):
            index += 1
        return self._rows[index].key, top - self._starts[index]

    def _go_to_end(self) -> None:
        self._was_at_end = True
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)

    # --- moving -------------------------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Notes whether older rows are wanted, and whether the end is in view."""
        super().watch_scroll_y(old_value, new_value)
        self._look_up()
        if self.is_at_end != self._was_at_end:
            self._was_at_end = self.is_at_end
            self.post_message(self.Moved())

    def _look_up(self) -> None:
        if self._rows and self.scroll_offset.y < _NEAR_TOP_LINES:
            self.post_message(self.OlderWanted())

    def action_page(self, direction: int) -> None:
        """Scrolls by a page."""
        step = direction * max(1, self.size.height - 2)
        self.scroll_to(y=self.scroll_offset.y + step, animate=False, force=True, immediate=True)

    def action_to_start(self) -> None:
        """Scrolls to the oldest message, which makes older ones load."""
        self.scroll_to(y=0, animate=False, force=True, immediate=True)

    def action_to_end(self) -> None:
        """Scrolls to the latest message."""
        self._go_to_end()

    def action_select(self, direction: int) -> None:
        """Selects the next message up or down."""
        index = next((index for index, row in enumerate(self._rows) if row.key == self.selected_key), len(self._rows))
        self._select_at(index, direction)

    def _select_at(self, index: int, direction: int) -> None:
        index += direction
        while 0 <= index < len(self._rows):
            row = self._rows[index]
            if isinstance(row, ChatMessageRow):
                self.selected_key = row.key
                self._lay_out()
                self._reveal(index)
                return
            index += direction
        if direction < 0:
            self.scroll_to(y=0, animate=False, force=True, immediate=True)
        else:
            self._go_to_end()

    def _reveal(self, index: int) -> None:
        start, end = self._starts[index], self._starts[index] + len(self._lines[index])
        top, height = self.scroll_offset.y, self.size.height
        if start < top or end - start > height:
            self.scroll_to(y=start, animate=False, force=True, immediate=True)
        elif end > top + height:
            self.scroll_to(y=end - height, animate=False, force=True, immediate=True)

    def action_unfold(self) -> None:
        """Shows a long message whole, or folds it again."""
        if self.selected_key:
            self._unfolded ^= {self.selected_key}
            self._lay_out()

    def action_ask(self, what: str) -> None:
        """Asks for something to be done."""
        self.post_message(self.Asked(what))

    def clear_selection(self) -> None:
        """Selects nothing."""
        if self.selected_key:
            self.selected_key = ""
            self._lay_out()

    def _on_focus(self, event: events.Focus) -> None:
        super()._on_focus(event)
        self.select_last()

    async def _on_click(self, event: events.Click) -> None:
        line = int(event.y) + self.scroll_offset.y - max(0, self.size.height - self._height)
        if 0 <= line < self._height:
            row = self._rows[bisect_right(self._starts, line) - 1]
            if isinstance(row, ChatMessageRow):
                self.selected_key = row.key
                self._lay_out()
