"""Inputs that know what the contract says, and break it: messages field by field, and bytes that were messages."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message

_INTEGERS = (0, 1, 2, 3, 7, 255, 256, 999, 1_000, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, (1 << 53), (1 << 63) - 1)
_UNSIGNED = ((1 << 63), (1 << 64) - 1)
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 90.5, 181.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    "",
    " ",
    "a",
    "\0",
    "a\0b",
    "../../etc/passwd",
    "' OR 1=1 --",
    "%s%n%x",
    "\n\r\t",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eright to left",
    "\u200b\u200d\ufeff",
    "e" + "\u0301" * 200,
    "👩‍👩‍👧‍👦" * 20,
    "\U000e0041\U000e007f",
    "\ud7ff\ue000\uffff",
    "ﷺ" * 50,
    "ı𝒶ª",
    "x" * 127,
    "x" * 129,
    "x" * 4_096,
    "y" * 100_001,
    "[/x][bold]",
    "{}[]()<>",
    "0" * 32,
    "Bearer ",
)
_MOST_REPEATED = (0, 1, 2, 3, 101, 257, 1_001)
_DEEPEST = 3


@dataclass(slots=True)
class Known:
    """What there is at the server, so that some inputs get past the first look.

    Args:
        texts: Ids of users, devices and channels, names, tokens.
    """

    texts: list[str] = field(default_factory=list)


class MessageMaker:
    """Makes messages of the contract.

    Args:
        source: The randomness.
        known: What there is at the server.
    """

    def __init__(self, source: random.Random, known: Known) -> None:
        self._random = source
        self._known = known

    def fill(self, message: Message, depth: int = 0) -> None:
        """Fill some fields of a message with values that are likely or unlikely."""
        for each in message.DESCRIPTOR.fields:
            if self._random.random() < 0.25:
                continue
            if each.is_repeated:
                self._repeat(message, each, depth)
            elif each.message_type is not None:
                if depth < _DEEPEST:
                    inner = getattr(message, each.name)
                    inner.SetInParent()
                    self.fill(inner, depth + 1)
            else:
                setattr(message, each.name, self._scalar(each))

    def encoded(self, kind: type[Message]) -> bytes:
        """Make the bytes of a message of a kind."""
        message = kind()
        self.fill(message)
        try:
            return message.SerializeToString()
        except EncodeError:
            return b""

    def _repeat(self, message: Message, each: Any, depth: int) -> None:
        values: Any = getattr(message, each.name)
        count = self._random.choice(_MOST_REPEATED if depth < 1 else _MOST_REPEATED[:4])
        if each.message_type is None:
            values.extend(self._scalar(each) for _ in range(count))
        elif each.message_type.GetOptions().map_entry or depth >= _DEEPEST:
            return
        else:
            for _ in range(min(count, 260)):
                self.fill(values.add(), depth + 1)

    def _scalar(self, each: Any) -> Any:
        choose = self._random.choice
        match each.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if each.type == FieldDescriptor.TYPE_BYTES:
                return self._random.randbytes(choose((0, 1, 16, 200)))
            case FieldDescriptor.CPPTYPE_STRING:
                if self._known.texts and self._random.random() < 0.5:
                    return choose(self._known.texts)
                return choose(_TEXTS).encode("utf-8", "replace").decode()
            case FieldDescriptor.CPPTYPE_BOOL:
                return choose((False, True))
            case FieldDescriptor.CPPTYPE_ENUM:
                return choose((0, 1, 2, 3, 99, (1 << 31) - 1, -1))
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return choose(_NUMBERS)
            case FieldDescriptor.CPPTYPE_UINT64:
                return choose(_INTEGERS + _UNSIGNED)
            case FieldDescriptor.CPPTYPE_INT64:
                return choose((*_INTEGERS, -1, -(1 << 63)))
            case FieldDescriptor.CPPTYPE_UINT32:
                return choose([each for each in _INTEGERS if each < 1 << 32])
            case _:
                return choose([each for each in (*_INTEGERS, -1, -(1 << 31)) if each < 1 << 31])


def mutated(source: random.Random, data: bytes) -> bytes:
    """Break some bytes: flip bits, cut, double, insert, or put other bytes in their place."""
    broken = bytearray(data)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(broken) + 1)
        match source.randrange(6):
            case 0 if broken:
                broken[at % len(broken)] ^= 1 << source.randrange(8)
            case 1:
                del broken[at:]
            case 2:
                broken[at:at] = broken[: source.randrange(64)]
            case 3:
                broken[at:at] = source.randbytes(source.randint(1, 16))
            case 4 if broken:
                broken[at % len(broken)] = source.choice((0, 0x7F, 0x80, 0xFF))
            case _:
                del broken[at : at + source.randint(1, 8)]
    return bytes(broken)


def grpc_frame(source: random.Random, payload: bytes) -> bytes:
    """Frame a payload as gRPC does, or nearly: the flag of compression and the length may lie."""
    flag, length = 0, len(payload)
    match source.randrange(8):
        case 0:
            flag, payload = 1, gzip.compress(payload)
            length = len(payload)
        case 1:
            flag = source.choice((1, 2, 255))
        case 2:
            length = source.choice((0, 1, length + 1, (1 << 32) - 1, 1 << 30))
    return bytes([flag]) + length.to_bytes(4, "big") + payload


def pick(source: random.Random, weighted: Sequence[tuple[int, Any]]) -> Any:
    """Choose one of some things by their weights."""
    return source.choices([thing for _, thing in weighted], [weight for weight, _ in weighted])[0]
