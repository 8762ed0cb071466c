"""The layout of rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style

from tidings_chat.rows import ChatMessageRow, Mark, NoticeRow
from tidings_chat.shown import NOTHING, ShownLine, ShownText
from tidings_chat.widgets.layout import Layout, Styles

STYLES = Styles(*(Style() for _ in range(8)))
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n 日👩x"), max_size=120)


@given(WORDS, WORDS, st.integers(12, 60), st.booleans(), st.sampled_from(Mark))
def test_no_line_is_wider_than_the_pane(text: str, name: str, width: int, is_continued: bool, mark: Mark) -> None:
    row = ChatMessageRow(
        "k",
        1,
        "ben",
        ShownLine(name),
        True,
        is_continued,
        "10:00",
        ShownText(text),
        ShownLine(name),
        True,
        False,
        mark,
        ShownLine("why"),
    )
    layout = Layout(Console(width=200), width, STYLES)
    for line in layout.lines(row, False) + layout.lines(NoticeRow(1, ShownText(text), "10:00"), False):
        assert line.cell_len <= width


def test_a_long_message_is_folded_until_it_is_asked_for() -> None:
    row = ChatMessageRow(
        "k",
        1,
        "ben",
        ShownLine("Ben"),
        False,
        False,
        "10:00",
        ShownText("word " * 20_000),
        NOTHING,
        False,
        False,
        Mark.NONE,
    )
    layout = Layout(Console(width=200), 40, STYLES)
    folded_lines, all_lines = layout.lines(row, False), layout.lines(row, True)
    assert len(folded_lines) < 30
    assert "100,000 characters" in folded_lines[-1].plain
    assert sum(line.plain.count("word") for line in all_lines) == 20_000
