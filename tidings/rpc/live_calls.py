"""The calls that devices have under way, so that a sign-out reaches every one of them, whatever it waits for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from grpc import aio

from tidings.core.errors import Refusal, device_revoked
from tidings.core.ports import DeviceStreams
from tidings.core.values import Identity
from tidings.rpc.answers import Unread

# Work that takes longer is cut off, so that a sign-out never waits for long.
_FINISH_SECONDS = 2.0

_current: contextvars.ContextVar[LiveCall] = contextvars.ContextVar("call")


def caller() -> Identity:
    """The device that makes the call being served."""
    return _current.get().identity


def when_signed_out(end: Callable[[Refusal], None]) -> None:
    """Have the call being served ended in its own way when its device is signed out.

    Args:
        end: Lets the call do nothing more, at once, and return soon.
    """
    _current.get().end = end


@contextmanager
def carried_out() -> Iterator[None]:
    """Let what the call being served does in this block go on to its end, even when its device is signed out.

    Half of it may be done already. After the block, the refusal is raised in place of its result.
    """
    call = _current.get(None)
    if call is None:
        yield
        return
    end, call.end = call.end, _let_finish
    try:
        yield
    finally:
        call.end = end
    call.check()


class LiveCalls(DeviceStreams):
    """The calls that this process has under way, by device, each from its opening until its answer is written.

    A sign-out ends all of them with UNAUTHENTICATED, reason DEVICE_REVOKED.
    """

    def __init__(self) -> None:
        self._by_device: dict[str, set[LiveCall]] = {}

    def __len__(self) -> int:
        """The number of devices that have calls under way."""
        return len(self._by_device)

    def begin(self, identity: Identity) -> LiveCall:
        """Register a call of a device whose token has just been checked, without having waited since.

        Returns:
            The call, which is under way as long as its `with` block; what is called within it finds it.
        """
        call = LiveCall(self, identity)
        self._by_device.setdefault(identity.device_id, set()).add(call)
        return call

    def forget(self, call: LiveCall) -> None:
        """Take out a call that is over."""
        calls = self._by_device.get(call.identity.device_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._by_device[call.identity.device_id]

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """See `DeviceStreams.end_devices`. Returns once those calls are over: they do nothing after that."""
        signing_out = _current.get(None)
        if signing_out is not None:
            # A call that signs a device out has been carried out. It is answered even if the device is its own.
            self.forget(signing_out)
        refusal = device_revoked()
        calls = [
            call
            for device_id, epoch in revoked.items()
            for call in self._by_device.get(device_id, ())
            if call.identity.epoch <= epoch
        ]
        for call in calls:
            call.sign_out(refusal)
        if calls:
            await asyncio.wait([call.over() for call in calls], timeout=_FINISH_SECONDS)
        for call in calls:
            call.cut_off()


class LiveCall:
    """A call of a signed-in device. Its `with` block is the work on it, and raises the refusal that has ended it.

    Args:
        calls: Where it is registered.
        identity: The device.
    """

    __slots__ = ("_calls", "_is_cut_off", "_over", "_refusal", "_task", "end", "identity")

    def __init__(self, calls: LiveCalls, identity: Identity) -> None:
        self._calls = calls
        self.identity = identity
        self.end: Callable[[Refusal], None] = self._cut_off_for
        """Ends its work when its device is signed out."""
        self._task = asyncio.current_task()
        self._refusal: Refusal | None = None
        self._is_cut_off = False
        self._over: asyncio.Future[None] | None = None

    def __enter__(self) -> LiveCall:
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._calls.forget(self)
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if isinstance(error, asyncio.CancelledError):
            if not self._is_cut_off or self._task is None:
                # The client has hung up.
                return
            self._task.uncancel()
        if not isinstance(error, aio.AbortError | Unread):
            self.check()

    def check(self) -> None:
        """Raise the refusal if the device has been signed out.

        Raises:
            Refusal: UNAUTHENTICATED, reason DEVICE_REVOKED.
        """
        if self._refusal is not None:
            raise self._refusal from None

    def sign_out(self, refusal: Refusal) -> None:
        """End the call: its device has been signed out."""
        if self._refusal is None:
            self._refusal = refusal
            self.end(refusal)

    def cut_off(self) -> None:
        """Cancel the work, if it is not over."""
        if self._task is not None and not self._is_cut_off and (self._over is None or not self._over.done()):
            self._is_cut_off = True
            self._task.cancel()

    def over(self) -> asyncio.Future[None]:
        """What is done once the call is over."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        return self._over

    def _cut_off_for(self, _: Refusal) -> None:
        self.cut_off()


def _let_finish(_: Refusal) -> None:
    """Let the work of a call go on to its end."""
