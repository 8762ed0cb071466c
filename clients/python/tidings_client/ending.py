"""How a stream ended, in the server's own words."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

from grpc import aio

from tidings_client.errors import TidingsError, from_rpc

_Stream: TypeAlias = "aio.StreamStreamCall[Any, Any]"
_Value = TypeVar("_Value")


class Ending:
    """Keeps the status that a stream ended with.

    A write to a stream that the server has ended fails, and grpc.aio then puts an INTERNAL of its own in the place of
    the status that the server gave (https://github.com/grpc/grpc/issues/36066). That would hide, of all things, that a
    token is refused or that the device has a newer stream. So the status is read in the moment when it comes.
    """

    def __init__(self, stream: _Stream) -> None:
        """Watches a stream that was just opened."""
        self._error: aio.AioRpcError | None = None
        stream.add_done_callback(self._note)

    def why(self, failure: aio.AioRpcError) -> TidingsError:
        """The error that the stream ended with.

        Args:
            failure: What reading it raised.
        """
        return from_rpc(self._error or failure)

    def _note(self, stream: _Stream) -> None:
        self._error = aio.AioRpcError(
            _at_once(stream.code()),
            aio.Metadata(),
            _at_once(stream.trailing_metadata()),
            _at_once(stream.details()),
        )


def _at_once(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    """Runs a coroutine that waits for nothing: what a finished call is asked for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: _Value = end.value
        return value
    coroutine.close()
    raise RuntimeError("a finished call made its caller wait")
