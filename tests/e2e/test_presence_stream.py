"""`PresenceService` over real gRPC, without the other services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from presence_server.contacts import AnnouncedContacts
from presence_server.service import PresenceService
from presence_server.track import Track
from presence_server.tracker import Tracker
from tests.support.clock import FakeClock
from tests.support.contacts import FakeContacts
from tests.support.raw import details_of, end_of
from tidings.backends.memory.presence import MemoryPresencePubSub, MemoryPresenceStore
from tidings.core.clock import Clock
from tidings.core.ports import ContactStore, PresencePubSub
from tidings.core.values import Presence
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings.v1 import presence_pb2, presence_pb2_grpc

LIFETIME_MS = 900_000
# What may wait on the way stays at the 64 KiB of HTTP/2, instead of growing with the speed of loopback.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0),)
BEAT = presence_pb2.TrackRequest(heartbeat=presence_pb2.Heartbeat())


class ObservedTracker(Tracker):
    """A tracker that says when a stream has been closed."""

    def __init__(self, news: PresencePubSub, contacts: ContactStore, clock: Clock) -> None:
        super().__init__(MemoryPresenceStore(), news, contacts, clock)
        self.one_closed = asyncio.Event()

    def close(self, track: Track) -> None:
        super().close(track)
        self.one_closed.set()


class World:
    """A presence server on loopback; people are devices named "user/device"."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.contacts = FakeContacts()
        self.news = MemoryPresencePubSub()
        self.tracker = ObservedTracker(self.news, self.contacts, self.clock)
        self.relations = AnnouncedContacts(self.contacts, self.tracker.relation_changed)
        self.revocations = Revocations(self.clock, LIFETIME_MS)
        key = Ed25519PrivateKey.generate()
        self.issuer = TokenIssuer(key, "key", self.clock, LIFETIME_MS)
        edge = CallInterceptor(TokenVerifier({"key": key.public_key()}, self.clock, self.revocations), LiveCalls())
        self.server = aio.server(interceptors=(edge,), options=SMALL_WINDOW)
        presence_pb2_grpc.add_PresenceServiceServicer_to_server(PresenceService(self.tracker, self.clock), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel = aio.insecure_channel(f"127.0.0.1:{self.port}", options=SMALL_WINDOW)
        self.stub = presence_pb2_grpc.PresenceServiceStub(self.channel)

    def metadata(self, device: str) -> tuple[tuple[str, str]]:
        return (("authorization", f"Bearer {self.issuer.issue(device.partition('/')[0], device)[0]}"),)

    @asynccontextmanager
    async def track(self, device: str) -> AsyncIterator[Stream]:
        """An open stream; what it was told first is in `first`."""
        call = self.stub.Track(metadata=self.metadata(device))
        try:
            stream = Stream(call)
            stream.first = await stream.read()
            yield stream
        finally:
            call.cancel()

    async def closed(self) -> None:
        """Waits until the server has noticed that all streams are gone."""
        async with asyncio.timeout(10):
            while len(self.tracker):
                self.tracker.one_closed.clear()
                await self.tracker.one_closed.wait()


class Stream:
    """A `Track` stream."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.first: list[tuple[str, bool]] = []

    async def beat(self) -> None:
        await self.call.write(BEAT)

    async def read(self) -> list[tuple[str, bool]]:
        async with asyncio.timeout(10):
            response = await self.call.read()
        assert isinstance(response, presence_pb2.TrackResponse)
        return [(change.user_id, change.online) for change in response.changes]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.contacts.add("a", "b")
    await world.contacts.add("b", "a")
    await world.server.start()
    running = asyncio.create_task(world.tracker.run())
    yield world
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.channel.close()
    await world.server.stop(None)


async def test_the_first_response_comes_before_a_heartbeat_even_without_contacts(world: World) -> None:
    async with world.track("a/phone") as a, world.track("c/phone") as c:
        assert a.first == [("b", False)]
        assert c.first == []


async def test_a_heartbeat_shows_to_contacts_and_a_sign_out_too(world: World) -> None:
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await b.beat()
        assert await a.read() == [("b", True)]
        world.revocations.add({"b/phone": 0})
        await world.tracker.end_devices({"b/phone": 0})
        response = await a.call.read()
        assert response.changes[0].last_seen.ToMilliseconds() == world.clock.now_ms()
        error = await end_of(b.call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert details_of(error).reason == "DEVICE_REVOKED"


async def test_a_request_without_the_heartbeat_counts_too(world: World) -> None:
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await b.call.write(presence_pb2.TrackRequest())
        assert await a.read() == [("b", True)]


async def test_silence_shows_after_thirty_seconds(world: World) -> None:
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await b.beat()
        assert await a.read() == [("b", True)]
        world.clock.advance(30)
        response = await a.call.read()
        assert [(each.user_id, each.online) for each in response.changes] == [("b", False)]
        assert response.changes[0].last_seen.ToMilliseconds() == world.clock.now_ms() - 30_000


async def test_a_dropped_stream_and_one_that_is_closed_well_leave_the_user_online(world: World) -> None:
    async with world.track("a/phone") as a:
        async with world.track("b/phone") as b:
            await b.beat()
            assert await a.read() == [("b", True)]
            await b.call.done_writing()
            assert await b.call.read() is aio.EOF
            assert await b.call.code() is grpc.StatusCode.OK
        async with world.track("b/phone") as b:
            await b.beat()
    await world.closed()
    answer = await world.stub.GetPresence(
        presence_pb2.GetPresenceRequest(user_ids=["b"]), metadata=world.metadata("a/phone")
    )
    assert [(each.user_id, each.online, each.HasField("last_seen")) for each in answer.presences] == [
        ("b", True, False)
    ]


async def test_a_block_hides_at_once_without_a_last_seen(world: World) -> None:
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await b.beat()
        assert await a.read() == [("b", True)]
        await world.relations.block("b", "a", 0)
        response = await a.call.read()
        assert list(response.changes) == [presence_pb2.PresenceChange(user_id="b", online=False)]


async def test_an_expired_token_ends_the_stream_at_the_next_heartbeat(world: World) -> None:
    async with world.track("a/phone") as a:
        await a.beat()
        world.clock.advance(LIFETIME_MS / 1000)
        await a.beat()
        error = await end_of(a.call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert details_of(error).reason == "TOKEN_EXPIRED"


async def test_an_expired_token_ends_a_stream_without_heartbeats_rather_than_tell_it_anything(world: World) -> None:
    async with world.track("a/phone") as a:
        world.clock.advance(LIFETIME_MS / 1000)
        async with world.track("b/phone") as b:
            await b.beat()
            error = await end_of(a.call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert details_of(error).reason == "TOKEN_EXPIRED"


async def test_a_newer_stream_of_the_device_ends_the_older(world: World) -> None:
    async with world.track("a/phone") as older, world.track("a/phone") as newer, world.track("b/phone") as b:
        error = await end_of(older.call)
        assert error.code() is grpc.StatusCode.ABORTED
        assert details_of(error).reason == "SESSION_REPLACED"
        await b.beat()
        assert await newer.read() == [("b", True)]


async def test_draining_ends_streams_with_a_time_to_come_back(world: World) -> None:
    async with world.track("a/phone") as a:
        world.tracker.drain()
        error = await end_of(a.call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(error).retry is not None
    again = await end_of(world.stub.Track(metadata=world.metadata("a/phone")))
    assert again.code() is grpc.StatusCode.UNAVAILABLE


async def test_without_a_token_there_is_nothing(world: World) -> None:
    error = await end_of(world.stub.Track())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(aio.AioRpcError) as refused:
        await world.stub.GetPresence(presence_pb2.GetPresenceRequest(user_ids=["b"]))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_more_than_a_hundred_are_refused_by_field_and_limit(world: World) -> None:
    request = presence_pb2.GetPresenceRequest(user_ids=[f"u{number}" for number in range(101)])
    with pytest.raises(aio.AioRpcError) as refused:
        await world.stub.GetPresence(request, metadata=world.metadata("a/phone"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(refused.value)
    assert details.fields == ["user_ids"]
    assert dict(details.info.metadata) == {"limit": "100", "actual": "101"}


async def test_a_hundred_are_answered_in_order(world: World) -> None:
    ids = [f"u{number}" for number in range(99)] + ["b"]
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await b.beat()
        await a.read()
        answer = await world.stub.GetPresence(
            presence_pb2.GetPresenceRequest(user_ids=ids), metadata=world.metadata("a/phone")
        )
    assert [each.user_id for each in answer.presences] == ids
    assert [each.user_id for each in answer.presences if each.online] == ["b"]


async def test_one_that_does_not_read_is_kept_one_change_a_contact_and_holds_nobody_up(world: World) -> None:
    rounds, crowd = 40, [f"{'x' * 200}{number}" for number in range(1000)]
    async with world.track("a/phone") as a, world.track("b/phone") as b:
        await flood(world, b, rounds, crowd)
        last = Presence("last", online=True, last_seen_ms=0)
        await world.news.publish(last, ["a"])
        changes: list[tuple[str, bool]] = []
        while ("last", True) not in changes:
            changes += await a.read()
    # What fitted on the way, and then the latest of each.
    assert len(changes) < rounds * len(crowd) / 2
    assert dict(changes) == dict.fromkeys(crowd, (rounds - 1) % 2 == 1) | {"last": True}


async def test_one_that_does_not_read_can_be_ended(world: World) -> None:
    async with world.track("a/phone") as a:
        async with world.track("b/phone") as b:
            await flood(world, b, 40, [f"{'x' * 200}{number}" for number in range(1000)])
        await world.tracker.end_devices({"a/phone": 0})
        await world.closed()
        error = await end_of(a.call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert details_of(error).reason == "DEVICE_REVOKED"


async def flood(world: World, b: Stream, rounds: int, crowd: list[str]) -> None:
    """Has more to tell a than the flow control of HTTP/2 lets wait on the way; b is told something in between."""
    for number in range(rounds):
        for user_id in crowd:
            await world.news.publish(Presence(user_id, number % 2 == 1, 0), ["a"])
        await world.news.publish(Presence("between", number % 2 == 1, 0), ["b"])
        assert await b.read() == [("between", number % 2 == 1)]
