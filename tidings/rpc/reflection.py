"""Server reflection: `grpcurl` lists, describes and calls everything without a .proto file at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

_OLD = "grpc.reflection.v1alpha"
_NEW = "grpc.reflection.v1"
NAMES = (f"{_NEW}.ServerReflection", f"{_OLD}.ServerReflection")
"""What the service is called. Older tools ask for the second, whose messages are the same."""


def add_reflection(server: aio.Server, service_names: Iterable[str]) -> None:
    """Serve the descriptors of some services, under both names of the protocol.

    Args:
        server: Where to add it.
        service_names: Full names, such as ``tidings.v1.ChatService``.
    """
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer([*service_names, *NAMES])
    method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in NAMES:
        server.add_registered_method_handlers(name, {"ServerReflectionInfo": method})


def _describe_v1() -> None:
    """Enter the descriptor of v1: the library ships v1alpha's alone, and they differ in the name."""
    old = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(old)
    renamed = text_format.MessageToString(old).replace("v1alpha", "v1")
    new = text_format.Parse(renamed, descriptor_pb2.FileDescriptorProto())
    descriptor_pool.Default().Add(new)
