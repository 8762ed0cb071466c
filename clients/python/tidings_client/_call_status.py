"""The status that a stream ended with, as the server gave it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

import grpc
from grpc import aio

from tidings_client._errors import TidingsError, from_rpc

_Stream: TypeAlias = "aio.StreamStreamCall[Any, Any]"
_Value = TypeVar("_Value")

# What grpc.aio says for itself when a write fails.
_OWN = grpc.StatusCode.INTERNAL, "Internal error from Core"
_LOOK_EVERY_SECONDS = 0.01
_LOOKS = 30


class CallStatus:
    """Keeps the status that the server ended a stream with.

    A write to a stream that the server has ended fails, and grpc.aio then puts an INTERNAL of its own in the place of
    the server's status (https://github.com/grpc/grpc/issues/36066). That would hide, of all things, that a token is
    refused or that the device has a newer stream. When the server's status comes first, it is read the moment it comes,
    before it is replaced. When the failure comes first, the server's status replaces it soon after all that the server
    sent has been read; no event tells when, so it is looked for a few times.

    Args:
        stream: A stream that was just opened.
    """

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._error: aio.AioRpcError | None = None
        stream.add_done_callback(self._note)

    async def why(self, failure: aio.AioRpcError) -> TidingsError:
        """Finds out the error that the stream ended with. It is called before the stream's channel is closed.

        Args:
            failure: The error that reading the stream raised.
        """
        for _ in range(_LOOKS):
            error = self._error or failure
            if (error.code(), error.details()) != _OWN:
                break
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            self._note(self._stream)
        return from_rpc(self._error or failure)

    def _note(self, stream: _Stream) -> None:
        self._error = aio.AioRpcError(
            _at_once(stream.code()),
            aio.Metadata(),
            _at_once(stream.trailing_metadata()),
            _at_once(stream.details()),
        )


def _at_once(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    """Runs a coroutine that never waits, as those of a finished call do not."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: _Value = end.value
        return value
    coroutine.close()
    raise RuntimeError("a finished call made its caller wait")
