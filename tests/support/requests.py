"""Requests made from the contract's descriptors: every method, and every field of what it takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tidings.internal.v1 import peer_pb2, push_queue_pb2
from tidings.v1 import (
    account_pb2,
    channel_pb2,
    chat_pb2,
    contact_pb2,
    discovery_pb2,
    history_pb2,
    presence_pb2,
    push_pb2,
)

PUBLIC = (account_pb2, channel_pb2, chat_pb2, contact_pb2, discovery_pb2, history_pb2, presence_pb2, push_pb2)
"""What clients call."""
INTERNAL = (peer_pb2, push_queue_pb2)
"""What servers call of one another."""
OPERATORS = (health_pb2, channelz_pb2, reflection_pb2)
"""What is on every listener."""


def methods(files: Iterable[Any] = PUBLIC) -> list[MethodDescriptor]:
    """All methods of some files of the contract."""
    return [
        method for file in files for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
    ]


def multi_callable(channel: Any, method: MethodDescriptor) -> Any:
    """What calls a method: that of its generated stub."""
    service = method.containing_service
    module = importlib.import_module(f"{service.file.name.removesuffix('.proto').replace('/', '.')}_pb2_grpc")
    return getattr(getattr(module, f"{service.name}Stub")(channel), method.name)


@dataclass(frozen=True)
class FieldPath:
    """A field of a message, or of one within it.

    Args:
        steps: The fields on the way to it, and itself.
    """

    steps: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        return self.steps[-1]

    @property
    def name(self) -> str:
        """As a refusal names it."""
        return ".".join(f"{each.name}[0]" if each.is_repeated else each.name for each in self.steps)

    def set(self, message: Any, value: Any) -> None:
        """Sets it, in the first item of what is repeated."""
        for step in self.steps[:-1]:
            message = getattr(message, step.name)
            if step.is_repeated:
                message = message[0] if message else message.add()
        if self.field.is_repeated:
            del getattr(message, self.field.name)[:]
            getattr(message, self.field.name).append(value)
        else:
            setattr(message, self.field.name, value)


def scalars(descriptor: Descriptor, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[FieldPath]:
    """All fields of a message that are no messages, those of messages within it included."""
    for field in descriptor.fields:
        if field.message_type is None:
            yield FieldPath((*before, field))
        else:
            yield from scalars(field.message_type, (*before, field))


def is_id(field: FieldDescriptor) -> bool:
    """Whether a field is an id: it is called so."""
    return field.type == FieldDescriptor.TYPE_STRING and field.name.endswith(("_id", "_ids"))


def filled(descriptor: Descriptor, plausible: Callable[[FieldDescriptor], Any]) -> Message:
    """A message with a plausible value in every field; of a oneof it has the last."""
    message = GetMessageClass(descriptor)()
    for path in scalars(descriptor):
        path.set(message, plausible(path.field))
    return message


def bodies() -> Mapping[str, Descriptor]:
    """All that a command of a stream may ask for, by the name of its field."""
    fields: Any = chat_pb2.Command.DESCRIPTOR.oneofs_by_name["body"].fields
    return {field.name: field.message_type for field in fields}
