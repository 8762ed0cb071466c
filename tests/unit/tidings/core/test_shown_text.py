"""What a name may look like, and what it may not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.errors import Code, Refusal
from tidings.core.shown_text import MARKS_IN_A_ROW, cleaned_line, shown_line


def kept(value: str) -> str:
    return shown_line("title", value, 64)


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "Ann-Sophie O'Neill (she/her) [/x] <b>",
        "Zoë Müller",
        "Nguyễn Thị Phương",
        "Владимир",
        "田中 太郎",
        "葛\U000e0100城",
        "김철수",
        "محمد",
        "می\u200cخواهم",
        "क्\u200dष",
        "শ্রী র\u200d্য",
        "അനില്\u200d",
        "ශ්\u200dරී",
        "שִׁ֖ית",
        "สมชาย กิ๊ก",
        "བསྒྲུབས",
        "ᠮᠣᠩᠭᠣᠯ\u180b",
        "👩\u200d👩\u200d👧\u200d👦",
        "👩🏽\u200d⚕\ufe0f",
        "❤\ufe0f\u200d🔥",
        "🏳\ufe0f\u200d🌈",
        "🏴\u200d☠\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "🇫🇷",
        "1\ufe0f\u20e3",
        "©\ufe0f ™\ufe0f ℹ\ufe0f",
        "\U0001fae8",  # an emoji that is newer than Python's tables
        "\U00011f04",  # and a letter
        "\u0600١٢",
        "42",
        "!",
    ],
)
def test_a_name_that_people_have_stays_as_it_is(name: str) -> None:
    assert kept(name) == name
    assert cleaned_line("device_name", name, 64) == name


@pytest.mark.parametrize(
    "part",
    [
        "\0",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\n",
        "\r",
        "\t",
        "\u2028",
        "\u2029",
        "\u202e",
        "\u202a",
        "\u2066",
        "\u2069",
        "\u200e",
        "\u061c",
        "\u200b",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u034f",
        "\u115f",
        "\u3164",
        "\uffa0",
        "\u2800",
        "\u17b4",
        "\u180e",
        "\u2064",
        "\ufffc",
        "\ufff9",
        "\U0001d159",
        "\U0001d173",
        "\U000e0041",
        "\U000e007f",
        "\U000e0001",
        "\ufe0f",
        "\ufe00",
        "\U000e0100",
        "\u200c",
        "\u200d",
        "\ue000",
        "\uffff",
        "\U000f0000",
        "\ufdd0",
    ],
    ids=ascii,
)
def test_what_is_not_seen_is_refused_by_name(part: str) -> None:
    for value in (f"An{part}n", f"Ann{part}", f"{part}Ann", part):
        with pytest.raises(Refusal) as caught:
            kept(value)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert [each.field for each in caught.value.violations] == ["title"]
        assert part not in caught.value.message
    assert cleaned_line("device_name", f"An{part}n", 64) in ("Ann", "An[31mn")


@pytest.mark.parametrize("empty", [" ", "\u00a0", "\u3000", "  \u2003 ", "\u0301", " \u0301"])
def test_a_name_that_shows_nothing_is_refused(empty: str) -> None:
    with pytest.raises(Refusal) as caught:
        shown_line("about", empty, 64, least=0)
    assert [each.field for each in caught.value.violations] == ["about"]
    assert cleaned_line("device_name", empty, 64) == ""


def test_an_empty_text_is_none_where_it_may_be() -> None:
    assert shown_line("about", "", 64, least=0) == ""
    with pytest.raises(Refusal):
        kept("")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("  Ann   Lee ", "Ann Lee"),
        ("Ann\u00a0\u2003Lee", "Ann Lee"),
        ("田中\u3000太郎", "田中 太郎"),
        ("Zoe\u0308", "Zoë"),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_what_looks_alike_is_kept_alike(value: str, name: str) -> None:
    assert kept(value) == name


def test_marks_do_not_pile_up() -> None:
    pile = "\u0316\u0317\u0318\u0319\u031c"
    assert kept("a" + pile[:MARKS_IN_A_ROW])
    with pytest.raises(Refusal):
        kept("a" + pile)
    assert cleaned_line("device_name", "a" + pile, 64) == "a" + pile[:MARKS_IN_A_ROW]


@pytest.mark.parametrize(
    "abuse",
    [
        "ad\u200dmin",
        "ad\u200cmin",
        "علی\u200c",
        "می\u200c\u200cخواهم",
        "क्\u200d\u200dष",
        "👩\u200d",
        "👩\u200d\u200d👧",
        "a\ufe0f",
        "1\ufe0f",
        "❤\ufe0f\ufe0f",
        "田\U000e0100\U000e0100",
        "🏴\U000e0067\U000e0062",
        "🏳\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ],
    ids=ascii,
)
def test_what_joins_or_varies_nothing_is_refused(abuse: str) -> None:
    with pytest.raises(Refusal):
        kept(abuse)


def test_the_length_counts_before_and_after() -> None:
    with pytest.raises(Refusal) as caught:
        shown_line("title", "x" * 9, 8)
    assert caught.value.metadata == {"limit": "8", "actual": "9"}
    # Some characters are longer composed.
    with pytest.raises(Refusal):
        shown_line("title", "\U0001d15e" * 8, 8)
    assert len(cleaned_line("device_name", "\U0001d15e" * 8, 8)) == 8


_TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "\u200c\u200d\ufe0f\u0301\u0316 \u094dक می👩🏽❤🏴\U000e0067\U000e007f\U000e0100田1\u20e3\u202e\n"
        ),
    ),
    max_size=24,
)


@given(_TEXTS)
def test_what_is_kept_is_kept_again_as_it_is(value: str) -> None:
    try:
        text = shown_line("title", value, 64)
    except Refusal:
        return
    assert shown_line("title", text, 64) == text
    assert unicodedata.is_normalized("NFC", text)
    assert not {unicodedata.category(char) for char in text} & {"Cc", "Cs", "Co", "Zl", "Zp"}


@given(_TEXTS)
def test_what_has_been_cleaned_is_accepted(value: str) -> None:
    text = cleaned_line("device_name", value, 24)
    assert len(text) <= 24
    assert shown_line("device_name", text, 24, least=0) == text
