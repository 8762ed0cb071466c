"""Nothing in a shown text commands the terminal, reorders, hides or piles up, whatever it was made of."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings_chat.shown import ShownLine, ShownText, skeleton

HOSTILE = st.sampled_from(
    "\x00\x07\x08\x1b\x7f\x85\x9b\r\n\t\u00ad\u034f\u061c\u115f\u200b\u200c\u200d\u200e\u2028\u202e\u2066\u2069\u2800\u3164"
    "\ue000\ufe0f\ufeff\uffff\U000e0041\u0301\u0338\u20dd👩1#a日י"
)
TEXTS = st.text(HOSTILE | st.characters(), max_size=40)


@given(TEXTS)
def test_no_text_has_a_control_a_direction_or_a_tower_in_it(text: str) -> None:
    for shown in (ShownText(text), ShownLine(text)):
        marks = 0
        before = "\n"
        for character in shown:
            assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Co", "Zl", "Zp")
            assert unicodedata.bidirectional(character) not in (
                *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
            )
            if unicodedata.category(character) == "Cf":
                assert character in "\u200c\u200d"
                assert before > "\x7f", "it joins nothing"
            is_mark = unicodedata.category(character) in ("Mn", "Me") and character not in "\ufe0e\ufe0f"
            assert not (is_mark and before == "\n"), "it sits on what stands before"
            marks = marks + 1 if is_mark else 0
            assert marks <= 4
            before = character
    assert "\n" not in ShownLine(text)


@given(TEXTS)
def test_a_shown_text_is_shown_as_it_is(text: str) -> None:
    shown, line = ShownText(text), ShownLine(text)
    assert ShownText(str.__str__(shown)) == shown
    assert ShownLine(str.__str__(line)) == line


@pytest.mark.parametrize(
    "text",
    [
        "Zoë Müller-Østergård",
        "日本語の名前",
        "שלום עולם",
        "می‌خواهم",
        "👩‍👩‍👧 family",
        "❤️ 1️⃣",
        "two\nlines",
        "[/x] [bold]no markup[/bold]",
        "e\u0301 and a\u0323\u0302",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert ShownText(text) == text


def test_what_is_taken_out_can_be_seen_where_it_did_something() -> None:
    assert ShownText("\x1b[2Jgone\r\nnext\ttab\x07") == "�[2Jgone\nnext    tab�"
    assert ShownLine("a\nb\u2028c") == "a b c"
    assert ShownText("B\u202eob") == "B�ob"
    assert ShownText("B\u200bo\u2060b\u3164") == "Bob"
    assert ShownText("\u0338x") == "\u25cc\u0338x"


def test_a_line_has_an_end() -> None:
    line = ShownLine("x" * 1_000_000)
    assert len(line) == 512
    assert line.endswith("…")


def test_a_text_put_together_of_shown_ones_is_cleaned_anew() -> None:
    assert type(ShownText("a") + "\x1b") is str
    assert ShownText(ShownText("a") + "\x1b") == "a�"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob", "bob"),
        ("Bob", "Воb"),
        ("Bob", "Ｂob"),
        ("Bob", "B\u200bob"),
        ("Bob", " Bob "),
        ("Änn", "Ann"),
        ("modern", "modem"),
        ("Bill", "BiII"),
        ("Root", "R00t"),
    ],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


def test_names_that_look_different_have_different_ones() -> None:
    names = ["Ann", "Anna", "Bob", "Bab", "日本", "日木", "Zoë M", "Zoë N"]
    assert len({skeleton(name) for name in names}) == len(names)
