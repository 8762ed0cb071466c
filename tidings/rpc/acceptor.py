"""How a listener takes its calls: so that nothing which a client sends can end it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, cast

import grpc
from grpc import aio
from grpc._cython.cygrpc import AioServer, _handle_rpc, _RequestCallError, _schedule_rpc_coro, _ServicerContext
from grpc.aio._server import Server

from tidings.core.errors import without_message
from tidings.rpc.log_rate import LogRate

_log = logging.getLogger(__name__)

# After a failure of gRPC's core, which is never a client's doing: it would be the same a moment later.
_RETRY_SECONDS = 1.0

Screen = Callable[["aio.ServicerContext[Any, Any]"], Coroutine[Any, Any, None] | None]
"""Looks at a call that has just come; what it gives is run in place of the handler."""

_call: contextvars.ContextVar[CallTask] = contextvars.ContextVar("call")


class CallTask:
    """The library's task for one call, which holds the call in the core: the call that nobody holds is reset."""

    __slots__ = ("aborted", "task")

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.aborted: BaseException | None = None
        """What ended it with a status; the library keeps it with the call."""


def reset_call() -> None:
    """Let go of the call that is being served, whose handler has to end at once: its client gets a reset.

    For a client that does not read: a status waits behind what is written, so by a status the call never ends, and
    what is written stays in memory. The library has no other way to cancel a call from this side.
    """
    call = _call.get(None)
    # Once the call is closed, the library's task only waits for the handler, and would print a traceback.
    if call is not None and getattr(call.task, "_fut_waiter", None) is not asyncio.current_task():
        call.task.cancel()


def call_aborted(error: BaseException) -> None:
    """Say what ends the call that is being served with a status, so that it holds nothing once the call is over.

    The library keeps it with the call, and its traceback has the call in it. In that circle, the headers and requests
    of refused calls would stay until the garbage collector comes by.
    """
    call = _call.get(None)
    if call is not None:
        call.aborted = error


def acceptor_server(
    interceptors: Sequence[aio.ServerInterceptor], options: Sequence[tuple[str, int]], screen: Screen
) -> aio.Server:
    """Make a gRPC server that takes its calls through a `CallAcceptor`; `aio.server` has no place to give one.

    Args:
        interceptors: Stand before every call.
        options: Of gRPC's core.
        screen: Looks at each call before them.
    """
    acceptor = CallAcceptor(interceptors, options, screen)
    server = Server.__new__(Server)
    vars(server).update(_loop=acceptor.loop, _server=acceptor)
    return cast(aio.Server, server)


class CallAcceptor(AioServer):
    """Accepts the calls of each method on its own, and those of methods that do not exist in one place.

    The library does this in one task, which reads the path of a call of an unknown method as UTF-8: fifty bytes that
    are none end the task, and the port with it. Here no path is read. The core compares it with the methods that are
    registered, and what it does not find is answered with UNIMPLEMENTED, whatever it is called. Nor is there a task
    that could end: the core completes a future for each call, and its callback asks for the next call before it serves
    this one.

    Args:
        interceptors: Stand before every call.
        options: Of gRPC's core.
        screen: Looks at each call before them.
    """

    def __init__(
        self, interceptors: Sequence[aio.ServerInterceptor], options: Sequence[tuple[str, int]], screen: Screen
    ) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(self.loop, None, (), interceptors, tuple(options), None)
        self._before = tuple(interceptors)
        self._screen = screen
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._stopped: asyncio.Future[None] = self.loop.create_future()
        self._failures = LogRate()
        # The event loop holds its tasks weakly.
        self._calls: set[asyncio.Task[None]] = set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers each method beside this, and hand-written code has to."""

    def add_registered_method_handlers(self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Serve some methods, by their paths."""
        super().add_registered_method_handlers(handlers)
        self._methods.update(handlers)

    def resolve_handler(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Find what serves a call; the library asks."""
        return self._methods.get(details.method)

    def _make_request_call_future(self, path: bytes | None) -> asyncio.Future[None]:
        """Begin to accept the calls of a method; the library's loop asks for each, and would wait for what it gets.

        It gets a future that ends with the server, so it has nothing to do before.
        """
        self._accept(path)
        return self._stopped

    def _accept(self, path: bytes | None) -> None:
        """Ask the core for the next call of a method; of those that do not exist, without one.

        The core writes the call into what the coroutine holds, so the coroutine may not end before: it is stepped by
        hand, for a task could be cancelled.
        """
        try:
            request = self._request_call() if path is None else self._request_registered_call(path)
            future: asyncio.Future[None] = request.send(None)
        except Exception as error:
            self._try_later(path, error)
        else:
            future.add_done_callback(partial(self._accepted, path, request))

    def _accepted(self, path: bytes | None, request: Coroutine[Any, Any, Any], _: asyncio.Future[None]) -> None:
        """Serve the call that has come, and accept the next one."""
        try:
            request.send(None)
        except StopIteration as accepted:
            if self.is_running():
                self._accept(path)
            self._serve(path, accepted.value)
        except Exception as error:
            if self.is_running():
                self._try_later(path, error)
            elif not self._stopped.done():
                # The core gives back what was asked for, and the library's loop may end.
                self._stopped.set_exception(_RequestCallError())

    def _try_later(self, path: bytes | None, error: Exception) -> None:
        if self._failures.unsaid(type(error).__name__) is not None:
            _log.error("calls cannot be accepted for a moment", exc_info=without_message(error))
        self.loop.call_later(_RETRY_SECONDS, self._accept_again, path)

    def _accept_again(self, path: bytes | None) -> None:
        if self.is_running():
            self._accept(path)

    def _serve(self, path: bytes | None, state: Any) -> None:
        """Run the handler of a call in a task, as the library does."""
        method = "" if path is None else path.decode()
        refusing = self._screen(_ServicerContext(state, None, None, self.loop))
        handling = refusing or _handle_rpc(method, self, self._before, state, self.loop, False)
        context, held = contextvars.copy_context(), CallTask()
        # The handler runs in a task of its own, in a copy of this context.
        context.run(_call.set, held)
        held.task = call = self.loop.create_task(
            _schedule_rpc_coro(handling, state, self.loop, method), context=context
        )
        self._calls.add(call)
        call.add_done_callback(partial(self._served, held))

    def _served(self, held: CallTask, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if held.aborted is not None:
            held.aborted.__traceback__ = held.aborted.__context__ = None
        error = None if call.cancelled() else call.exception()
        if error is not None and self._failures.unsaid(type(error).__name__) is not None:
            _log.error("a call could not be finished", exc_info=without_message(error))

    def _serving_task_crash_handler(self, task: asyncio.Task[None]) -> None:
        """Say that the library's loop has ended, where the library would stop the server: it was not needed."""
        if self.is_running():
            _log.error("the accept loop of grpc.aio has ended; calls are accepted as before")
        if not task.cancelled():
            # Read, so that nobody complains that it was not.
            task.exception()

    async def _start_shutting_down(self) -> None:
        """Stop accepting. The library waits for its loop, however it ended."""
        try:
            await super()._start_shutting_down()
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
        except Exception as error:
            _log.debug("the accept loop had ended before", exc_info=without_message(error))
