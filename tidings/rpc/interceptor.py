"""The interceptor of every call: sign-in, errors as statuses, and a log line for each fault of the server."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, cast

import grpc
from grpc import aio

from tidings.core.errors import Code, Refusal, unauthenticated, without_message
from tidings.core.reasons import Reason
from tidings.core.values import Identity
from tidings.rpc.status import abort
from tidings.rpc.tokens import TokenVerifier

_log = logging.getLogger(__name__)
_caller: contextvars.ContextVar[Identity] = contextvars.ContextVar("caller")

# What asks for no sign-in: signing in, finding servers, and what operators look with.
OPEN_METHODS = frozenset(
    f"/tidings.v1.{method}"
    for method in (
        "AccountService/SignUp",
        "AccountService/LogIn",
        "AccountService/RefreshTokens",
        "DiscoveryService/RecommendServers",
        "DiscoveryService/WatchServers",
    )
)


def caller() -> Identity:
    """The device that makes the call being served."""
    return _caller.get()


def bearer(metadata: Collection[tuple[str, str | bytes]] | None) -> str:
    """Read the access token from a call's metadata.

    Raises:
        Refusal: UNAUTHENTICATED when there is none.
    """
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token:
                return token.strip()
    raise unauthenticated("the call needs `authorization: Bearer <access token>` metadata", Reason.TOKEN_MISSING)


def peer_address(context: aio.ServicerContext[Any, Any]) -> str:
    """The address that a call comes from, without the port. Limits by address count by it."""
    peer = str(context.peer())
    return peer.rsplit(":", 1)[0]


class CallInterceptor(aio.ServerInterceptor):
    """Stands before every method of tidings; health, reflection and channelz pass it untouched.

    Args:
        verifier: Checks access tokens.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method that is called, once for all its calls."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or not method.startswith("/tidings."):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Make a handler that signs the caller in, calls the method, and turns exceptions into statuses."""
        is_open = method in OPEN_METHODS

        def identify(context: aio.ServicerContext[Any, Any]) -> None:
            if not is_open:
                _caller.set(self._verifier.verify(bearer(context.invocation_metadata())))

        if handler.unary_unary is not None:
            unary: Callable[[Any, Any], Awaitable[Any]] = handler.unary_unary

            async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
                try:
                    identify(context)
                    return await unary(request, context)
                except Exception as error:
                    await abort(context, _refusal(method, error))

            return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

        if handler.unary_stream is not None:
            # The types that gRPC declares are those of the synchronous API.
            stream: Callable[[Any, Any], AsyncIterator[Any]] = cast(Any, handler.unary_stream)

            async def call_stream(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
                try:
                    identify(context)
                    async for response in stream(request, context):
                        yield response
                except Exception as error:
                    await abort(context, _refusal(method, error))

            return grpc.unary_stream_rpc_method_handler(
                call_stream, handler.request_deserializer, handler.response_serializer
            )

        both: Callable[[Any, Any], Awaitable[None]] = cast(Any, handler.stream_stream)

        # Bidirectional methods read and write through the context: an idle stream then costs one coroutine.
        async def call_both(requests: Any, context: aio.ServicerContext[Any, Any]) -> None:
            try:
                identify(context)
                await both(requests, context)
            except Exception as error:
                await abort(context, _refusal(method, error))

        return grpc.stream_stream_rpc_method_handler(
            call_both, handler.request_deserializer, handler.response_serializer
        )


def _refusal(method: str, error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, aio.AbortError):
        raise error
    _log.error("%s failed: %s", method, type(error).__name__, exc_info=without_message(error))
    return Refusal(Code.INTERNAL, "something went wrong on the server; it has been logged", reason=Reason.INTERNAL)
