"""Texts as they are shown: whatever came from others, nothing in it commands the terminal or hides."""

from __future__ import annotations

import re
import unicodedata
from typing import Self

_MOST_OF_A_LINE = 512
_MARKS_IN_A_ROW = 4
_REPLACEMENT = "\ufffd"
_ELLIPSIS = "…"
_TAB = "    "
_PLAIN = re.compile(r"[\n\x20-\x7e]*")
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Joiners make emoji of several and letters of some scripts; anywhere else they only hide.
_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
_JOINERS = re.compile("[\u200c\u200d]{2,}")
_STRAY_SELECTORS = re.compile("(?<![^\x00-\x7f])(?<![0-9#*])[\ufe0e\ufe0f]+")
# On a letter, more marks than any script needs reach into the lines above and below; without one, they sit on what
# stands before the text.
_TOWER = re.compile(f"m{{{_MARKS_IN_A_ROW + 1},}}")
_ORPHAN = re.compile("(?<![^n])m")
# Letters, marks and symbols that show nothing, of other categories than their looks.
_BLANKS = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, 0x1D159),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)),
    )
)
_BIDI = frozenset([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_JOINERS_AND_SELECTORS = frozenset([0x200C, 0x200D, 0xFE0E, 0xFE0F])
_MOST_CACHED = 20_000


class _Replacements(dict[int, str]):
    """What each character is replaced by, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        found = self._find(code)
        if len(self) < _MOST_CACHED:
            self[code] = found
        return found

    def _find(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character == "\n" or code in _JOINERS_AND_SELECTORS:
            return character
        if code in _BIDI or category in ("Cc", "Cs", "Co") or (category == "Cn" and code & 0xFFFE == 0xFFFE):
            return _REPLACEMENT
        if category == "Cf" or code in _BLANKS:
            return ""
        return " " if category == "Zs" else character


class _Kinds(_Replacements):
    """A letter for the kind of each character: `m`, a mark that takes no place of its own; `n`, a line break."""

    def _find(self, code: int) -> str:
        if chr(code) == "\n":
            return "n"
        is_mark = code not in _JOINERS_AND_SELECTORS and unicodedata.category(chr(code)) in ("Mn", "Me")
        return "m" if is_mark else "x"


_replacements = _Replacements()
_kinds = _Kinds()


class ShownText(str):
    """A text that may be put on the screen.

    It cannot be made without being cleaned: of control characters, and so of escape sequences; of what reorders, hides
    or piles up. All that the widgets show is of this type, so a text that came from others reaches none of them as it
    came; mypy says where one would. What is put together of shown texts is a `str` again, and made one anew.

    Args:
        text: Any text.
    """

    __slots__ = ()

    def __new__(cls, text: str = "") -> Self:
        """Cleans the text."""
        return text if type(text) is cls else super().__new__(cls, cls._cleaned(text))

    @classmethod
    def _cleaned(cls, text: str) -> str:
        return _clean(text)


class ShownLine(ShownText):
    """A shown text in one line of bounded length: a name, a title, a sentence.

    Args:
        text: Any text.
    """

    __slots__ = ()

    @classmethod
    def _cleaned(cls, text: str) -> str:
        # Cut before it is cleaned, so that a huge one costs nothing, and after, since a tab becomes several spaces.
        line = " ".join(_clean(text[: 2 * _MOST_OF_A_LINE]).split("\n"))
        return line if len(line) <= _MOST_OF_A_LINE else f"{line[: _MOST_OF_A_LINE - 1]}{_ELLIPSIS}"


def _clean(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    text = _BREAKS.sub("\n", text).replace("\t", _TAB).translate(_replacements)
    # What one step takes away may leave something for another one: a joiner, say, with nothing to join any more.
    while (cleaner := _without_strays(text)) != text:
        text = cleaner
    return text


def _without_strays(text: str) -> str:
    text = _STRAY_JOINERS.sub("", _JOINERS.sub(lambda found: found[0][0], text))
    return _without_towers(_STRAY_SELECTORS.sub("", text))


def _without_towers(text: str) -> str:
    """Drops marks beyond what a letter may carry, and puts those that have no letter on a dotted circle."""
    kinds = text.translate(_kinds)
    if "m" not in kinds:
        return text
    parts: list[str] = []
    end = 0
    for tower in _TOWER.finditer(kinds):
        parts.append(text[end : tower.start() + _MARKS_IN_A_ROW])
        end = tower.end()
    text = "".join([*parts, text[end:]])
    kinds = text.translate(_kinds)
    parts, end = [], 0
    for orphan in _ORPHAN.finditer(kinds):
        parts += [text[end : orphan.start()], "\u25cc"]
        end = orphan.start()
    return "".join([*parts, text[end:]])


# Letters that look like Latin ones, in the scripts that most people have on their keyboards.
_LOOKALIKES = str.maketrans(
    "авеіјкмнорсԁѕтухүһԛԝѵɡɩαβεηικνορτυχωγ01|!ıℓ", "abeijkmhopcdstyxyhqwvgiabenikvoptuxwyolllil"
)
_PAIRS = (("rn", "m"), ("vv", "w"), ("i", "l"))


def skeleton(name: str) -> str:
    """Gives what two names have in common that look alike: without case, marks, spaces and look-alike letters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    bare = "".join(each for each in folded if unicodedata.category(each)[0] not in "MCZ")
    bare = bare.translate(_LOOKALIKES)
    for pair, single in _PAIRS:
        bare = bare.replace(pair, single)
    return bare


NOTHING = ShownLine()
"""An empty line."""
