"""The gRPC edge of presence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeAlias, TypeVar

from grpc import aio

from presence_server.track import Track
from presence_server.tracker import Tracker
from tidings.core.clock import Clock
from tidings.core.errors import Refusal
from tidings.core.rate import Rate, RateLimiter
from tidings.core.values import Presence
from tidings.rpc.live_calls import caller, when_signed_out
from tidings.v1 import presence_pb2, presence_pb2_grpc

HEARTBEATS = Rate(per_second=10, burst=100)
"""Of one user: ten devices send one every five seconds each."""

T = TypeVar("T")
_Context: TypeAlias = "aio.ServicerContext[presence_pb2.TrackRequest, presence_pb2.TrackResponse]"


class PresenceService(presence_pb2_grpc.PresenceServiceServicer):
    """`tidings.v1.PresenceService`.

    Args:
        tracker: The rules.
        clock: Tells how fast heartbeats come.
    """

    def __init__(self, tracker: Tracker, clock: Clock) -> None:
        self._tracker = tracker
        self._beats = RateLimiter(HEARTBEATS, clock)

    # grpc.aio serves a coroutine too, which reads and writes through the context; the generated class knows only
    # iterators.
    async def Track(  # type: ignore[override]
        self, requests: AsyncIterator[presence_pb2.TrackRequest], context: _Context
    ) -> None:
        """See the contract."""
        track = await self._tracker.open(caller())
        when_signed_out(track.end)
        writer = _Writer(self._tracker, track, context)
        try:
            await _until_ended(track, writer.write())
            track.when_news(writer.wake)
            # What is no request is the end.
            while isinstance(await _until_ended(track, context.read()), presence_pb2.TrackRequest):
                await self._tracker.beat(track)
                while wait := self._beats.take(track.identity.user_id):
                    # Nothing is read meanwhile, so flow control holds the client back.
                    await _until_ended(track, asyncio.sleep(wait))
                    if track.ended is not None:
                        break
            if track.ended is not None:
                raise track.ended
        finally:
            self._tracker.close(track)
            writer.close()

    async def GetPresence(
        self,
        request: presence_pb2.GetPresenceRequest,
        context: aio.ServicerContext[presence_pb2.GetPresenceRequest, presence_pb2.GetPresenceResponse],
    ) -> presence_pb2.GetPresenceResponse:
        """See the contract."""
        presences = await self._tracker.presences(caller().user_id, request.user_ids)
        return presence_pb2.GetPresenceResponse(presences=map(_to_message, presences))


class _Writer:
    """Writes the changes for one stream. While there are none, it costs no task."""

    def __init__(self, tracker: Tracker, track: Track, context: _Context) -> None:
        self._tracker = tracker
        self._track = track
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())

    async def write(self) -> None:
        self._tracker.check(self._track)
        changes = map(_to_message, self._track.take())
        await self._context.write(presence_pb2.TrackResponse(changes=changes))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _write_all(self) -> None:
        try:
            while self._track.has_news():
                await self.write()
        except (Refusal, aio.BaseError, asyncio.InvalidStateError):
            # The stream is at its end; the reader finds out why.
            pass
        finally:
            self._task = None


async def _until_ended(track: Track, waiting: Awaitable[T]) -> T | None:
    """Wait for the client to read or to say something; None when the server ends the stream meanwhile."""
    try:
        async with asyncio.timeout(None) as scope:
            track.when_ended(lambda: scope.reschedule(0.0))
            return await waiting
    except TimeoutError:
        return None
    finally:
        track.when_ended(None)


def _to_message(presence: Presence) -> presence_pb2.PresenceChange:
    change = presence_pb2.PresenceChange(user_id=presence.user_id, online=presence.online)
    if not presence.online and presence.last_seen_ms:
        change.last_seen.FromMilliseconds(presence.last_seen_ms)
    return change
