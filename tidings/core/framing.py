"""Encoded messages as the repeated field 1 of another: joined frames are one frame with all that is in them."""

from __future__ import annotations

from collections.abc import Iterator

# Field 1, length-delimited.
_TAG = b"\x0a"
# Wire types, and the bytes of those that have always as many.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED = {1: 8, 5: 4}


def frame(message: bytes) -> bytes:
    """Frame an encoded message, such as an Event as a ConverseResponse."""
    size = len(message)
    prefix = bytearray(_TAG)
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + message


def has_more_than(most: int, message: bytes) -> bool:
    """Tell whether an encoded message has more than `most` fields, repeated ones counted each time.

    Nothing is made of them, and counting stops at the first one too many: what `most` fields cost is what the largest
    message costs. Bytes that are no message are left to whoever parses them.
    """
    size = len(message)
    # A field has a tag, and at least a byte behind it.
    if size <= 2 * most:
        return False
    at = count = 0
    try:
        while at < size:
            count += 1
            if count > most:
                return True
            tag, at = _varint(message, at)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                length, at = _varint(message, at)
                at += length
            elif wire_type == _VARINT:
                _, at = _varint(message, at)
            elif wire_type in _FIXED:
                at += _FIXED[wire_type]
            else:
                # Groups, which nothing here has: each of their fields counts.
                continue
    except IndexError:
        return False
    return False


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read a varint; return it with where it ends."""
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


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
