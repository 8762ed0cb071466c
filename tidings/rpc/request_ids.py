"""The check that every id in a request is one, found by the request's descriptor: a new field needs no code."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tidings.core.ids import check_id

# Ids that clients make for something of their own: whoever takes them checks them, with `check_client_id`.
_CLIENTS_OWN = frozenset({"attempt_id", "client_message_id"})
# Fields in which nothing means something, as the contract says of each.
_MAY_BE_EMPTY = frozenset({"tidings.v1.LogInRequest.device_id", "tidings.internal.v1.PushRequest.sender_id"})


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message that is an id, or a message with some within.

    Args:
        name: Its name.
        is_id: Whether it is an id.
        is_repeated: Whether there may be several.
        may_be_empty: Whether an empty id means something.
    """

    name: str
    is_id: bool
    is_repeated: bool
    may_be_empty: bool


def check_ids(message: Message, within: str = "") -> None:
    """Refuse a request in which an id is none.

    Args:
        message: The request, or a message within it.
        within: Where in the request it stands, with a dot at the end.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field.
    """
    for field in _fields(message.DESCRIPTOR):
        if field.is_repeated:
            for index, each in enumerate(getattr(message, field.name)):
                _check(field, each, f"{within}{field.name}[{index}]")
        elif field.is_id or message.HasField(field.name):
            _check(field, getattr(message, field.name), within + field.name)


def _check(field: _Field, value: Any, path: str) -> None:
    if not field.is_id:
        check_ids(value, f"{path}.")
    elif value or not field.may_be_empty:
        check_id(path, value)


@functools.cache
def _fields(descriptor: Descriptor) -> Sequence[_Field]:
    """Find the fields of a message to look at; no message of a request contains itself."""
    found = []
    for field in descriptor.fields:
        is_id = (
            field.type == FieldDescriptor.TYPE_STRING
            and field.name.endswith(("_id", "_ids"))
            and field.name not in _CLIENTS_OWN
        )
        if is_id or (field.message_type is not None and _fields(field.message_type)):
            is_repeated = field.is_repeated
            found.append(_Field(field.name, is_id, is_repeated, field.full_name in _MAY_BE_EMPTY))
    return tuple(found)
