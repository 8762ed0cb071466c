"""The SDK's presence against a backend that does wrong on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.sdk_fake import Backend, no, serve
from tests.support.waiting import eventually
from tidings.v1 import presence_pb2
from tidings_client import Presence, ReplacedError, SignedOutError, Tidings, TidingsError

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def backend() -> Backend:
    backend = Backend()
    backend.present = {"bob": False, "cyd": True}
    return backend


@pytest.fixture
async def ann(backend: Backend) -> AsyncIterator[Tidings]:
    async with serve(backend) as (address, _), await Tidings.sign_up(address, "ann", "correct horse") as client:
        yield client


def change(user_id: str, online: bool) -> presence_pb2.PresenceChange:
    return presence_pb2.PresenceChange(user_id=user_id, online=online)


def tell(backend: Backend, user_id: str, online: bool) -> None:
    backend.present[user_id] = online
    for track in backend.tracks:
        track.put_nowait(presence_pb2.TrackResponse(changes=[change(user_id, online)]))


async def first(presence: Presence) -> None:
    assert [await anext(presence), await anext(presence)] == [change("bob", False), change("cyd", True)]


async def test_it_tells_how_everybody_is_and_then_what_changes(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        tell(backend, "bob", True)
        assert await anext(presence) == change("bob", True)
        assert presence.contacts == {"bob": change("bob", True), "cyd": change("cyd", True)}
    with pytest.raises(StopAsyncIteration):
        await anext(presence)


async def test_only_the_latest_of_what_nobody_took_is_kept(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        for online in (True, False, True):
            tell(backend, "bob", online)
        # The last of these is taken when those before have come.
        tell(backend, "dan", True)
        latest = {}
        while "dan" not in latest:
            news = await anext(presence)
            latest[news.user_id] = news.online
        assert latest == {"bob": True, "dan": True}


async def test_the_device_is_kept_online_although_nobody_listens(
    backend: Backend, ann: Tidings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings_client._presence._HEARTBEAT_SECONDS", 0.02)
    async with ann.presence():
        await backend.beaten(5)


async def test_after_a_break_only_what_changed_meanwhile_is_told(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        backend.present["cyd"] = False
        backend.tracks[0].put_nowait(no("UNAVAILABLE"))
        assert await anext(presence) == change("cyd", False)
        tell(backend, "bob", True)
        assert await anext(presence) == change("bob", True)


async def test_the_end_of_a_token_is_not_the_end(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        for round_ in range(3):
            backend.present["bob"] = not backend.present["bob"]
            backend.tracks[0].put_nowait(no("UNAUTHENTICATED", reason="TOKEN_EXPIRED"))
            assert await anext(presence) == change("bob", backend.present["bob"])
            assert backend.refreshes == round_ + 1


async def test_being_signed_out_is_told(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        backend.revoked.add(ann.device_id)
        backend.tracks[0].put_nowait(no("UNAUTHENTICATED", reason="DEVICE_REVOKED"))
        for _ in range(2):
            with pytest.raises(SignedOutError):
                await anext(presence)


async def test_a_newer_presence_of_the_same_device_ends_this_one(
    backend: Backend, ann: Tidings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Writing all the time, when grpc likes to hide the reason.
    monkeypatch.setattr("tidings_client._presence._HEARTBEAT_SECONDS", 0.0)
    async with ann.presence() as presence:
        await first(presence)
        backend.tracks[0].put_nowait(no("ABORTED", "replaced", reason="SESSION_REPLACED"))
        with pytest.raises(ReplacedError, match="replaced"):
            await anext(presence)

    async def is_gone() -> bool:
        return backend.tracks == []

    await eventually(is_gone)


async def test_a_server_that_will_never_take_this_client_is_told(backend: Backend, ann: Tidings) -> None:
    async with ann.presence() as presence:
        await first(presence)
        backend.tracks[0].put_nowait(no("PERMISSION_DENIED", "never"))
        with pytest.raises(TidingsError, match="never"):
            await anext(presence)


async def test_it_is_entered_once(ann: Tidings) -> None:
    presence = ann.presence()
    async with presence:
        await first(presence)
        with pytest.raises(RuntimeError, match="once"):
            await presence.__aenter__()
    waiting = ann.presence()
    async with waiting:
        await first(waiting)
        reading = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await reading
