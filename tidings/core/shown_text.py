"""The rules of texts that others are shown: names, titles, a line about oneself.

Such a text stands beside other people's, on screens of all kinds, so it must not reach beyond its place (line breaks,
bidirectional overrides, towers of accents), must not hide what makes it differ from another one (invisible characters),
and must show something. What a script or an emoji needs is left to it: joiners in Persian and the scripts of India,
variants of Han characters, families and flags. Unicode's version here is Python's, so a character that is not assigned
yet passes: it may be an emoji of next year.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from tidings.core.errors import invalid
from tidings.core.limits import check_text

MARKS_IN_A_ROW = 4
"""On one letter. Hebrew with points and accents has three, and Tibetan stacks seldom have more."""

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_VIRAMA = 9  # the combining class
_JOINING_SCRIPTS = frozenset(
    (
        *("ARABIC", "SYRIAC", "MANDAIC", "NKO", "ADLAM", "MONGOLIAN"),
        *("DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM"),
        *("SINHALA", "KHMER", "MYANMAR", "TIBETAN"),
    )
)
# Format characters (Cf) that show: signs around Arabic and Syriac numbers, Kaithi number signs.
_SHOWN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Letters, marks and symbols that show nothing: fillers of Hangul and Khmer, the grapheme joiner, an empty braille cell,
# an empty note, the place of an object that is not there.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u2800\U0001d159\ufffc")
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_EMOJI_PLANE = range(0x1F000, 0x1FB00)
# Emoji that are no symbols (So) to Unicode, and may have a variation selector.
_OTHER_EMOJI = frozenset("\u203c\u2049\u2139\u2194\u3030")
_KEYS = frozenset("0123456789#*")
_KEYCAP = "\u20e3"
# A flag of a part of a country, spelt in tags behind a black flag: Scotland is `gbsct`.
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")


def shown_line(field: str, value: str, most: int, least: int = 1) -> str:
    """Check a text that others are shown in one line, and return it as it is to be kept.

    What is kept is in Unicode's composed form (NFC), without spaces at its ends and with single ones of one kind
    within, so that two names that look alike in that are alike.

    Args:
        field: The field that it came in.
        value: The text.
        most: How many code points it may have.
        least: How many it must have; 0 where an empty text means something.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field, and the character that must not be there. It is refused and not
            taken out, because whoever typed it should see the name that others will see.
    """
    # The length first: putting a long row of marks into order takes the square of it.
    check_text(field, value, most, least)
    text = _normal(value)
    for index, fault in _faults(text):
        code = f"U+{ord(text[index]):04X}"
        raise invalid(field, f"has {fault} ({code}) in place {index + 1}", actual=code)
    if value and not any(map(_shows, text)):
        raise invalid(field, "shows nothing: there must be a letter, a digit or a sign in it")
    check_text(field, text, most, least)
    return text


def cleaned_line(field: str, value: str, most: int) -> str:
    """Take out of a text what must not be in one that is shown; the rest is as in `shown_line`, and may be empty.

    For what no person has typed, such as the name that a phone's maker gave the phone: nobody could put it right.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field, for more than `most` code points.
    """
    check_text(field, value, most, least=0)
    text = _normal(value)[:most]
    # Without one character, another one may have lost what it stood beside.
    while faulty := {index for index, _ in _faults(text)}:
        text = _normal("".join(char for index, char in enumerate(text) if index not in faulty))
    return text if any(map(_shows, text)) else ""


def _normal(value: str) -> str:
    composed = unicodedata.normalize("NFC", value)
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in composed)
    return " ".join(filter(None, spaced.split(" ")))


def _shows(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] not in "ZMC" or category == "Cn" or char in _SHOWN_FORMATS


def _faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield where a character must not stand, and what it is called."""
    in_flags = {index for flag in _FLAG.finditer(text) for index in range(*flag.span())}
    marks = 0
    for index, char in enumerate(text):
        code, category = ord(char), unicodedata.category(char)
        before = text[index - 1] if index else ""
        after = text[index + 1] if index + 1 < len(text) else ""
        fault = ""
        if char in (_ZWNJ, _ZWJ):
            if not _joins(before, char, after):
                fault = "a joiner that joins nothing"
        elif _is_selector(code):
            if not _varies(before, code, after):
                fault = "a variation selector that selects nothing"
        elif category in ("Cc", "Zl", "Zp"):
            fault = "a control character or a line break"
        elif index not in in_flags and _is_invisible(char, code, category):
            fault = "a character that is not seen, or changes the direction of others"
        elif category in ("Mn", "Me"):
            marks += 1
            if not before:
                fault = "a mark that stands on nothing"
            elif marks > MARKS_IN_A_ROW:
                fault = "one mark too many on a letter"
        else:
            marks = 0
        if fault:
            yield index, fault


def _is_invisible(char: str, code: int, category: str) -> bool:
    if category == "Cf":
        return char not in _SHOWN_FORMATS
    if category == "Cn":
        # What will never be a character, and what will never be seen whatever it becomes.
        never = (code & 0xFFFE) == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        return never or code == 0x2065 or 0xFFF0 <= code <= 0xFFF8 or 0xE0000 <= code <= 0xE0FFF
    return category in ("Cs", "Co") or char in _BLANKS


def _joins(before: str, joiner: str, after: str) -> bool:
    if not before:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if joiner == _ZWJ and after and _is_pictograph(after):
        return _is_pictograph(before) or before in ("\ufe0f", "\U000e007f")
    script = _script(before)
    return script in _JOINING_SCRIPTS and script == _script(after)


def _is_selector(code: int) -> bool:
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code in (0x180B, 0x180C, 0x180D, 0x180F)


def _varies(before: str, selector: int, after: str) -> bool:
    """Tell whether there is a variant to select: a style of an emoji, or a form of a Han or Mongolian letter."""
    if not before:
        return False
    if selector in (0xFE0E, 0xFE0F):
        return _is_pictograph(before) or before in _OTHER_EMOJI or (before in _KEYS and after == _KEYCAP)
    if selector < 0xFE00:
        return _script(before) == "MONGOLIAN"
    return _script(before) == "CJK"


def _is_pictograph(char: str) -> bool:
    return (unicodedata.category(char) == "So" and char not in _BLANKS) or ord(char) in _EMOJI_PLANE or char == "\u2194"


def _script(char: str) -> str:
    """Return the script of a letter or a mark, which is the first word of its name."""
    return unicodedata.name(char, "").partition(" ")[0] if char and unicodedata.category(char)[0] in "LM" else ""
