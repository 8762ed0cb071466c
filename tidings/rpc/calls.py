"""How a call is served: its messages come and go as bytes, and are parsed and encoded here, where a fault is answered.

gRPC parses a request before it calls anybody, and answers bytes that it cannot parse with UNKNOWN and a traceback in
the log. So every method is registered as one that reads and writes bytes through its context; on the wire nothing
differs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason
from tidings.rpc.answers import HANDLING_SECONDS, REQUEST_SECONDS, Answers, Unread, too_slow
from tidings.rpc.live_calls import carried_out
from tidings.rpc.request_check import check_request

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
Parse: TypeAlias = Callable[[bytes], Any]
Encode: TypeAlias = Callable[[Any], bytes]


def malformed(what: str) -> Refusal:
    """Make a refusal of bytes, or of a sequence of messages, that mean nothing."""
    return Refusal(Code.INVALID_ARGUMENT, what, reason=Reason.MALFORMED_FRAME)


class MessageContext:
    """The context of a call for a method that reads or writes several messages.

    Args:
        context: gRPC's, which reads and writes bytes.
        parse: Makes a message of bytes.
        encode: Makes bytes of a message; None where the method writes bytes.
    """

    def __init__(self, context: Context, parse: Parse, encode: Encode | None) -> None:
        self._context = context
        self._parse = parse
        self._encode = encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Read the next message; `aio.EOF` at the end of the client's side of the stream.

        Raises:
            Refusal: INVALID_ARGUMENT, the bytes are no such message.
        """
        frame: Any = await self._context.read()
        return frame if frame is aio.EOF else _parsed(frame, self._parse)

    async def write(self, message: Any) -> None:
        """Write a message."""
        await self._context.write(self._encode(message) if self._encode is not None else message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Read all messages."""
        while (message := await self.read()) is not aio.EOF:
            yield message


def serving(
    handler: grpc.RpcMethodHandler[Any, Any], answers: Answers, answer_bytes: int
) -> Callable[[Context, str], Awaitable[None]]:
    """Make a function that serves a call of a method from its first byte to its last.

    Args:
        handler: The method as its service registers it. One that takes a stream without a `request_deserializer` gets
            gRPC's own context, and what it reads are bytes.
        answers: Where there has to be room for the answer of a method that gives one.
        answer_bytes: Room for a large answer, which is taken before it is made; 0 where answers are small.

    Returns:
        The function, of the call's context and the key of its caller.
    """
    # The types that gRPC declares are those of the synchronous API.
    method: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream
    parse, encode = cast(Parse, handler.request_deserializer), handler.response_serializer
    if handler.unary_unary is not None:
        return _serving_unary(method, parse, cast(Encode, encode), answers, answer_bytes)
    return _serving_stream(method, parse, encode, takes_stream=handler.request_streaming)


def _serving_unary(
    method: Any, parse: Parse, encode: Encode, answers: Answers, answer_bytes: int
) -> Callable[[Context, str], Awaitable[None]]:
    """Make the function of a method that takes one message and answers with one."""

    async def serve_unary(context: Context, caller: str) -> None:
        request = await _only_request(context, parse)
        try:
            async with asyncio.timeout(HANDLING_SECONDS) as scope, answers.room(caller, answer_bytes):
                with carried_out():
                    response = await method(request, context)
                # What the library's services say instead of raising.
                if context.code() not in (None, grpc.StatusCode.OK):
                    return
                answer = encode(response)
                # What is not read takes memory once.
                del request, response
                # A small answer takes room when it is there: many calls may wait for something at the same time.
                async with answers.room(caller, 0 if answer_bytes else len(answer)):
                    # The time to read it is counted on its own.
                    scope.reschedule(None)
                    try:
                        await answers.write(context.write, answer)
                    except asyncio.CancelledError:
                        # Its device was signed out, say. No status can follow a first message that is not read.
                        raise Unread from None
        except TimeoutError:
            if not scope.expired():
                raise
            raise too_slow("the answer could not be made", HANDLING_SECONDS) from None

    return serve_unary


def _serving_stream(
    method: Any, parse: Parse, encode: Encode | None, *, takes_stream: bool
) -> Callable[[Context, str], Awaitable[None]]:
    """Make the function of a method that takes or gives a stream."""

    async def serve_stream(context: Context, _: str) -> None:
        # Headers go alone: with a first message behind them that its client does not read, they count as not sent, and
        # no status could be sent.
        await context.send_initial_metadata(())
        if takes_stream and parse is None:
            await method(context, context)
            return
        messages = MessageContext(context, parse, encode)
        request = messages if takes_stream else await _only_request(context, parse)
        if not inspect.isasyncgenfunction(method):
            await method(request, messages)
            return
        async for response in method(request, messages):
            await messages.write(response)

    return serve_stream


async def _only_request(context: Context, parse: Parse) -> Any:
    """Read and check the request of a method that takes one. What a client sends behind it is not read."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            frame: Any = await context.read()
    except TimeoutError:
        raise too_slow("no request came", REQUEST_SECONDS) from None
    if frame is aio.EOF:
        raise malformed("the call has no request: its client said that nothing comes, before it had sent one")
    request = _parsed(frame, parse)
    check_request(request)
    return request


def _parsed(frame: bytes, parse: Parse) -> Any:
    try:
        return parse(frame)
    except DecodeError:
        raise malformed(f"these {len(frame):,} bytes are not the message that the method takes") from None
