"""What searches compare instead of names."""

from __future__ import annotations

import unicodedata

PREFIX_CHARACTERS = 12
"""Up to how many characters of a key its beginnings are kept, so that a page of those found is one stretch of rows."""

# Letters that Unicode does not decompose, though people write them without the stroke or as two letters.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"})


def search_key(text: str) -> str:
    """Return a text without what people leave out when they search: case, accents, and forms of letters.

    The key of a key is the key itself, and so is that of a username. It is empty for a text of accents alone.
    """
    # Decomposed again, since folding a case may compose ("ΐ"), and folded again, since decomposing may give capitals.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).casefold()
    return "".join(each for each in decomposed.translate(_PLAIN) if not unicodedata.combining(each))


def key_prefixes(*keys: str) -> set[str]:
    """Return the beginnings of some keys, up to `PREFIX_CHARACTERS`."""
    return {key[:length] for key in keys for length in range(1, min(len(key), PREFIX_CHARACTERS) + 1)}
