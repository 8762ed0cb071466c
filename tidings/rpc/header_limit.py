"""The bound on the headers of a call, which gRPC's own does not hold against everyone."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from grpc import aio

from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason
from tidings.rpc.status import abort

HEADER_BYTES = 16_384
"""The most that the headers of a call may have, counted as HTTP/2 does: names, values, and 32 for each."""
_EACH = 32


def refuse_long_headers(context: aio.ServicerContext[Any, Any]) -> Coroutine[Any, Any, None] | None:
    """End a call with too many headers before anybody looks at them, and free what they hold.

    gRPC's core refuses them itself, but lets a client that never acknowledges the server's settings have 16 MiB: twenty
    such calls of a stranger, each waiting for a request that does not come, held 350 MiB. It is done before grpc.aio
    looks for the handler, which leaves the headers in a circle of objects until the garbage collector comes by.

    Args:
        context: The call's.

    Returns:
        What ends the call, to be run in place of its handler; None when the headers are within the bound.
    """
    size = 0
    for name, value in context.invocation_metadata() or ():
        size += len(name) + len(value) + _EACH
    return _refuse(context) if size > HEADER_BYTES else None


async def _refuse(context: aio.ServicerContext[Any, Any]) -> None:
    await abort(
        context,
        Refusal(
            Code.RESOURCE_EXHAUSTED,
            f"the headers have more than {HEADER_BYTES:,} bytes",
            reason=Reason.HEADERS_TOO_LARGE,
            metadata={"limit": str(HEADER_BYTES)},
        ),
    )
