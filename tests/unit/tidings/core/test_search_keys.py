"""What searches compare instead of names."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from tidings.core.search_keys import key_prefixes, search_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ada", "ada"),
        ("ADA.1-x_", "ada.1-x_"),
        ("José", "jose"),
        ("Jose\u0301", "jose"),
        ("İstanbul", "istanbul"),
        ("ılgaz", "ilgaz"),
        ("ﬁnn", "finn"),
        ("Straße", "strasse"),
        ("Œuvre Ærø", "oeuvre aero"),
        ("\u0301\u0308", ""),
    ],
)
def test_the_key_of_a_name(text: str, key: str) -> None:
    assert search_key(text) == key


def test_neither_composing_nor_a_second_time_nor_case_changes_a_key() -> None:
    for each in map(chr, range(sys.maxunicode + 1)):
        key = search_key(each)
        assert search_key(key) == key, each
        assert search_key(unicodedata.normalize("NFD", each)) == key, each
        assert search_key(each.casefold()) == key, each


def test_beginnings_are_kept_up_to_a_length() -> None:
    assert key_prefixes("ab", "b") == {"a", "ab", "b"}
    assert max(map(len, key_prefixes("x" * 40))) == 12
