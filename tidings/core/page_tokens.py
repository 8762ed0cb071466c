"""Page tokens: the place in a list where its next page begins, good for that list alone."""

from __future__ import annotations

import base64
import binascii
import hashlib

from tidings.core.errors import Refusal, invalid

_CHECK_BYTES = 6


def page_token(of: str, place: str) -> str:
    """Make the token of a page.

    Args:
        of: The list: the method, its caller, and what they asked for.
        place: Where in it the page begins.
    """
    return base64.urlsafe_b64encode(_check(of, place) + place.encode()).decode("ascii")


def page_place(of: str, token: str) -> str:
    """Read where a page begins; the arguments are those of `page_token`.

    A token of another list is refused, or it would lead to some place of this one by chance. The check in it is against
    mistakes, not against whoever makes a token by hand: what a token says is still to be checked.

    Raises:
        Refusal: INVALID_ARGUMENT, no page of this list ended with the token.
    """
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        place = raw[_CHECK_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise not_of_this_list() from None
    if raw[:_CHECK_BYTES] != _check(of, place):
        raise not_of_this_list()
    return place


def not_of_this_list() -> Refusal:
    """Make the refusal of a token that no page of a list ended with."""
    return invalid("page_token", "is not the next_page_token of a page of this list")


def _check(of: str, place: str) -> bytes:
    return hashlib.blake2b(f"{of}\n{place}".encode(), digest_size=_CHECK_BYTES, person=b"tidings.page").digest()
