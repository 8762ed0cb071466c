"""Encoded messages as the repeated field 1 of another: joined frames are one frame with all that is in them."""

from __future__ import annotations

# Field 1, length-delimited.
_TAG = b"\x0a"


def frame(message: bytes) -> bytes:
    """Frame an encoded message, such as an Event as a ConverseResponse."""
    size = len(message)
    prefix = bytearray(_TAG)
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + message
