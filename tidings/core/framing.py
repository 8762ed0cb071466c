"""Encoded messages as the repeated field 1 of another: joined frames are one frame with all that is in them."""

from __future__ import annotations

from collections.abc import Iterator

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


def split_frames(frames: bytes) -> Iterator[bytes]:
    """Yield the messages of joined frames."""
    at = 0
    while at < len(frames):
        at += len(_TAG)
        size = shift = 0
        while True:
            byte = frames[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield frames[at : at + size]
        at += size
