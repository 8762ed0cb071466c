"""The interceptor of every call: sign-in, errors as statuses, and a log line for each fault of the server."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, cast

import grpc
from grpc import aio

from tidings.core.errors import Code, Refusal, unauthenticated, without_message
from tidings.core.reasons import Reason
from tidings.rpc.acceptor import reset_call
from tidings.rpc.addresses import ClientAddresses
from tidings.rpc.admission import LARGE_ANSWERS, Admission, Caller
from tidings.rpc.answers import Answers, Unread
from tidings.rpc.calls import Context, serving
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.log_rate import LogRate
from tidings.rpc.status import abort
from tidings.rpc.tokens import TokenVerifier

_log = logging.getLogger(__name__)
_STATUS_SECONDS = 5.0

GONE = (aio.BaseError, asyncio.InvalidStateError)
"""What reading and writing raise when the stream is not there any more."""

_address: contextvars.ContextVar[str] = contextvars.ContextVar("address")

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


def caller_address() -> str:
    """The address that the call being served comes from. Limits by address count by it."""
    return _address.get()


class CallInterceptor(aio.ServerInterceptor):
    """Stands before every method of a listener: admits calls, signs callers in, and answers faults with statuses.

    Args:
        verifier: Checks access tokens; None where whoever can connect may call, as other servers do.
        calls: Where the calls of signed-in devices are registered while they are under way.
        admission: Says no to whoever asks for too much; None where nobody does, as between servers.
        addresses: Tells the addresses of callers.
    """

    def __init__(
        self,
        verifier: TokenVerifier | None,
        calls: LiveCalls | None = None,
        admission: Admission | None = None,
        addresses: ClientAddresses | None = None,
    ) -> None:
        self._verifier = verifier
        self._calls = calls if calls is not None else LiveCalls()
        self._admission = admission
        self._addresses = addresses or ClientAddresses()
        self._answers = Answers()
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._faults = LogRate()

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
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Make a handler that signs the caller in, serves the call, and turns exceptions into statuses."""
        # Health, reflection and channelz are anybody's.
        asks_for_token = method.startswith("/tidings.") and method not in OPEN_METHODS
        verifier = self._verifier if asks_for_token else None
        is_stream = handler.request_streaming or handler.response_streaming
        serve = serving(handler, self._answers, LARGE_ANSWERS.get(method, 0))
        admission = self._admission

        async def admitted(context: Context, caller: Caller) -> None:
            if admission is None:
                await serve(context, caller.key)
                return
            admission.enter(method, caller, is_stream)
            try:
                await serve(context, caller.key)
            finally:
                admission.leave(caller, is_stream)

        # It reads and writes through the context: an idle stream then costs one coroutine.
        async def call(_: Any, context: Context) -> None:
            try:
                address = self._addresses.of(str(context.peer()), metadata := context.invocation_metadata() or ())
                _address.set(address)
                if verifier is None:
                    await admitted(context, Caller(address, is_user=False))
                    return
                identity = verifier.verify(bearer(metadata))
                with self._calls.begin(identity):
                    await admitted(context, Caller(identity.user_id, is_user=True))
            except Exception as error:
                await self._fail(method, context, error)

        return grpc.stream_stream_rpc_method_handler(cast(Any, call))

    async def _fail(self, method: str, context: Context, error: Exception) -> None:
        """End a call with the status of what was raised."""
        if isinstance(error, aio.AbortError):
            raise error
        if isinstance(error, Unread):
            reset_call()
            raise asyncio.CancelledError from None
        if isinstance(error, GONE):
            raise asyncio.CancelledError from None
        if not isinstance(error, Refusal):
            unsaid = self._faults.unsaid((method, type(error)))
            if unsaid is not None:
                times = f" [{unsaid:,} more since the last such line]" if unsaid else ""
                _log.error("%s failed: %s%s", method, type(error).__name__, times, exc_info=without_message(error))
            error = Refusal(
                Code.INTERNAL, "something went wrong on the server; it has been logged", reason=Reason.INTERNAL
            )
        try:
            async with asyncio.timeout(_STATUS_SECONDS):
                await abort(context, error)
        except aio.AbortError:
            raise
        except TimeoutError:
            # It waits behind what the client does not read.
            reset_call()
            raise asyncio.CancelledError from None
        except GONE:
            # Nobody is there to be told, which is nobody's fault: grpc would log it with a traceback.
            raise asyncio.CancelledError from None
