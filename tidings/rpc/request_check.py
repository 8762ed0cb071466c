"""The checks of a request that follow from its descriptor, so that a new field needs no code: ids, and sizes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tidings.core.errors import invalid
from tidings.core.ids import check_id
from tidings.core.limits import REPEATED_ITEMS

# Ids that clients make for something of their own: whoever takes them checks them, with `check_client_id`.
_CLIENTS_OWN = frozenset({"attempt_id", "client_message_id"})
# Fields in which nothing means something, as the contract says of each.
_MAY_BE_EMPTY = frozenset({"tidings.v1.LogInRequest.device_id", "tidings.internal.v1.PushRequest.sender_id"})


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message that is checked: an id, what is repeated, or a message with such a field within.

    Args:
        name: Its name.
        is_id: Whether it is an id.
        is_message: Whether there is something to check within.
        is_repeated: Whether there may be several.
        may_be_empty: Whether an empty id means something.
    """

    name: str
    is_id: bool
    is_message: bool
    is_repeated: bool
    may_be_empty: bool


def check_request(message: Message, within: str = "") -> None:
    """Refuse a request in which an id is none, or which has too many items in a field.

    Args:
        message: The request, or a message within it.
        within: Where in the request it stands, with a dot at the end.

    Raises:
        Refusal: INVALID_ARGUMENT naming the field.
    """
    for field in _fields(message.DESCRIPTOR):
        path = within + field.name
        if field.is_repeated:
            items = getattr(message, field.name)
            # First: half a million ids fit in a request, and looking at them all takes half a second.
            if len(items) > REPEATED_ITEMS:
                description = f"has {len(items):,} items, at most {REPEATED_ITEMS:,} are allowed"
                raise invalid(path, description, limit=REPEATED_ITEMS, actual=len(items))
            for index, each in enumerate(items):
                _check(field, each, f"{path}[{index}]")
        elif field.is_id or message.HasField(field.name):
            _check(field, getattr(message, field.name), path)


def _check(field: _Field, value: Any, path: str) -> None:
    if field.is_message:
        check_request(value, f"{path}.")
    elif field.is_id and (value or not field.may_be_empty):
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
        is_message = field.message_type is not None and bool(_fields(field.message_type))
        if is_id or is_message or field.is_repeated:
            may_be_empty = field.full_name in _MAY_BE_EMPTY
            found.append(_Field(field.name, is_id, is_message, field.is_repeated, may_be_empty))
    return tuple(found)
