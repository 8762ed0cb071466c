"""The bound on the headers of a call, which gRPC's own does not hold against everyone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from grpc import aio

from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason
from tidings.rpc.status import abort

HEADER_BYTES = 16_384
"""The most that the headers of a call may have, counted as HTTP/2 does: names, values, and 32 for each."""
_EACH = 32


class HeaderLimit(aio.ServerInterceptor):
    """Ends calls with too many headers before anybody looks at them, and frees what they hold.

    gRPC's core refuses them itself, but lets a client that never acknowledges the server's settings have 16 MiB: twenty
    such calls of a stranger, each waiting for a request that does not come, held 350 MiB.
    """

    def __init__(self) -> None:
        self._refusing: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(cast(Any, _refuse))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Pass the call on, or take its place."""
        size = 0
        for name, value in handler_call_details.invocation_metadata or ():
            size += len(name) + len(value) + _EACH
        return self._refusing if size > HEADER_BYTES else await continuation(handler_call_details)


async def _refuse(_: Any, context: aio.ServicerContext[bytes, bytes]) -> None:
    await abort(
        context,
        Refusal(
            Code.RESOURCE_EXHAUSTED,
            f"the headers have more than {HEADER_BYTES:,} bytes",
            reason=Reason.HEADERS_TOO_LARGE,
            metadata={"limit": str(HEADER_BYTES)},
        ),
    )
