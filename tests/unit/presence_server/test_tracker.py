"""The rules of presence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import pytest

from presence_server.contacts import AnnouncedContacts
from presence_server.track import Track
from presence_server.tracker import REFRESH_AFTER_SECONDS, Tracker
from tests.support.clock import FakeClock
from tests.support.contacts import FakeContacts
from tidings.backends.memory.presence import MemoryPresencePubSub, MemoryPresenceStore
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.reasons import Reason
from tidings.core.values import Identity, Presence


class Store(MemoryPresenceStore):
    """A store that can be away, and whose heartbeats can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.gate: asyncio.Event | None = None
        self.is_held = asyncio.Event()

    async def beat(self, user_id: str, device_id: str, now_ms: int) -> bool:
        if self.gate is not None:
            self.is_held.set()
            await self.gate.wait()
        return await super().beat(user_id, device_id, now_ms)

    async def expire(self, now_ms: int, silent_ms: int) -> Sequence[str]:
        if self.is_away:
            raise unavailable("the engine is away", Reason.STORAGE_UNAVAILABLE)
        return await super().expire(now_ms, silent_ms)


class World:
    """A presence server, and people with devices named "user/device"."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.contacts = FakeContacts()
        self.store = Store()
        self.news = MemoryPresencePubSub()
        self.tracker = Tracker(self.store, self.news, self.contacts, self.clock)
        # What the services that change contacts get.
        self.relations = AnnouncedContacts(self.contacts, self.tracker.relation_changed)

    async def friends(self, *users: str) -> None:
        for one in users:
            for other in users:
                if one != other:
                    await self.contacts.add(one, other)

    async def open(self, device: str, token_seconds: float = 900.0) -> Track:
        good_until = self.clock.monotonic() + token_seconds
        return await self.tracker.open(Identity(device.partition("/")[0], device, good_until))

    async def online(self, device: str) -> Track:
        track = await self.open(device)
        await self.tracker.beat(track)
        await self.tracker.tick()
        return track

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.tracker.tick()

    async def state(self, viewer: str, user_id: str) -> Presence:
        return (await self.tracker.presences(viewer, [user_id]))[0]

    def ago(self, seconds: float) -> int:
        return self.clock.now_ms() - round(seconds * 1000)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.friends("a", "b")
    return world


def told(track: Track) -> dict[str, bool]:
    return {presence.user_id: presence.online for presence in track.take()}


# --- the 30 seconds ---------------------------------------------------------------------------------------------------


async def test_the_first_states_are_those_of_all_contacts(world: World) -> None:
    await world.friends("a", "c")
    await world.online("b/phone")
    track = await world.open("a/phone")
    assert list(track.take()) == [Presence("b", True, 0), Presence("c", False, 0)]
    assert not track.has_news()


async def test_a_stream_without_a_heartbeat_makes_nobody_online(world: World) -> None:
    await world.open("b/phone")
    await world.tracker.tick()
    assert not (await world.state("a", "b")).online


async def test_contacts_are_told_of_the_first_heartbeat_and_not_of_the_next(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)
    await world.tracker.beat(b)
    await world.tracker.tick()
    assert list(a.take()) == [Presence("b", True, 0)]
    await world.wait(5)
    await world.tracker.beat(b)
    await world.tracker.tick()
    assert not a.has_news()


async def test_thirty_seconds_without_a_heartbeat_are_offline_and_no_millisecond_less(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    await world.wait(29.999)
    await world.tracker.beat(a)
    assert not a.has_news()
    assert (await world.state("a", "b")).online
    await world.wait(0.001)
    assert list(a.take()) == [Presence("b", False, world.ago(30))]
    assert await world.state("a", "b") == Presence("b", False, world.ago(30))
    await world.tracker.beat(b)
    await world.tracker.tick()
    assert told(a) == {"b": True}


async def test_heartbeats_keep_a_user_online(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    for _ in range(20):
        await world.wait(5)
        await world.tracker.beat(b)
    assert not a.has_news()


async def test_a_short_drop_does_not_flicker(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    world.tracker.close(b)
    await world.wait(29)
    await world.online("b/phone")
    await world.wait(29)
    assert not a.has_news()
    assert (await world.state("a", "b")).online


async def test_a_user_is_online_while_any_device_is(world: World) -> None:
    a, phone, laptop = [await world.online(device) for device in ("a/phone", "b/phone", "b/laptop")]
    told(a)
    await world.wait(20)
    await world.tracker.beat(laptop)
    await world.wait(20)
    assert not a.has_news()
    await world.wait(10)
    assert list(a.take()) == [Presence("b", False, world.ago(30))]
    assert phone.ended is None


async def test_changes_of_one_contact_that_wait_become_one(world: World) -> None:
    a = await world.online("a/phone")
    told(a)
    for _ in range(10):
        await world.online("b/phone")
        await world.wait(30)
    assert [presence.online for presence in a.take()] == [False]


# --- signing out ------------------------------------------------------------------------------------------------------


async def test_signing_out_shows_at_once_and_ends_the_stream(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    woken = asyncio.Event()
    b.when_ended(woken.set)
    await world.tracker.end_devices({"b/phone": 0})
    await world.tracker.tick()
    assert list(a.take()) == [Presence("b", False, world.clock.now_ms())]
    assert woken.is_set()
    with pytest.raises(Refusal) as refused:
        await world.tracker.beat(b)
    assert (refused.value.code, refused.value.reason) == (Code.UNAUTHENTICATED, "DEVICE_REVOKED")
    await world.tracker.tick()
    assert not (await world.state("a", "b")).online


async def test_signing_out_one_of_two_devices_shows_nothing(world: World) -> None:
    a, phone, laptop = [await world.online(device) for device in ("a/phone", "b/phone", "b/laptop")]
    told(a)
    await world.tracker.end_devices({"b/phone": 0})
    await world.tracker.tick()
    assert not a.has_news()
    assert phone.ended is not None
    assert laptop.ended is None


async def test_signing_out_shows_at_once_though_the_stream_has_dropped(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    world.tracker.close(b)
    await world.tracker.end_devices({"b/phone": 0, "never/seen": 0})
    await world.tracker.tick()
    assert told(a) == {"b": False}


async def test_a_heartbeat_on_its_way_does_not_undo_a_sign_out(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)
    world.store.gate = asyncio.Event()
    beating = asyncio.create_task(world.tracker.beat(b))
    await world.store.is_held.wait()
    await world.tracker.end_devices({"b/phone": 0})
    world.store.gate.set()
    with pytest.raises(Refusal):
        await beating
    await world.tracker.tick()
    assert not (await world.state("a", "b")).online


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_newer_stream_of_a_device_ends_the_older(world: World) -> None:
    older = await world.online("a/phone")
    newer = await world.online("a/phone")
    assert older.ended is not None
    assert (older.ended.code, older.ended.reason) == (Code.ABORTED, "SESSION_REPLACED")
    world.tracker.close(older)
    told(newer)
    await world.online("b/phone")
    assert told(newer) == {"b": True}
    assert len(world.tracker) == 2


async def test_a_stream_ends_when_its_token_has_run_out_and_its_heartbeat_does_not_count(world: World) -> None:
    b = await world.open("b/phone", token_seconds=20)
    await world.tracker.beat(b)
    await world.wait(19.999)
    await world.tracker.beat(b)
    await world.wait(0.001)
    with pytest.raises(Refusal) as refused:
        await world.tracker.beat(b)
    assert (refused.value.code, refused.value.reason) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")
    await world.wait(29.998)
    assert (await world.state("a", "b")).online
    await world.wait(0.001)
    assert not (await world.state("a", "b")).online


async def test_nothing_more_is_told_on_a_stream_that_has_ended(world: World) -> None:
    a = await world.open("a/phone", token_seconds=20)
    told(a)
    await world.wait(20)
    with pytest.raises(Refusal):
        world.tracker.check(a)
    await world.online("b/phone")
    assert not a.has_news()


async def test_a_closed_stream_is_forgotten(world: World) -> None:
    a = await world.open("a/phone")
    told(a)
    world.tracker.close(a)
    world.tracker.close(a)
    await world.online("b/phone")
    assert not a.has_news()
    world.tracker.close(await world.open("b/phone"))
    assert len(world.tracker) == 0


async def test_what_came_before_somebody_waits_for_it_wakes_them_at_once(world: World) -> None:
    a = await world.open("a/phone")
    woken: list[str] = []
    a.when_news(lambda: woken.append("news"))
    a.when_ended(lambda: woken.append("not yet"))
    assert woken == ["news"]
    a.when_ended(None)
    await world.tracker.end_devices({"a/phone": 0})
    a.when_ended(lambda: woken.append("ended"))
    assert woken == ["news", "ended"]


async def test_what_cannot_be_opened_leaves_nothing_behind(world: World) -> None:
    world.contacts.is_away = True
    with pytest.raises(Refusal) as refused:
        await world.open("a/phone")
    assert refused.value.code is Code.UNAVAILABLE
    assert len(world.tracker) == 0


async def test_draining_sends_devices_elsewhere_and_nobody_offline(world: World) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a)
    world.tracker.drain()
    for track in (a, b):
        assert track.ended is not None
        assert (track.ended.code, track.ended.reason) == (Code.UNAVAILABLE, "DRAINING")
        assert track.ended.retry_after
    with pytest.raises(Refusal):
        await world.open("a/phone")
    await world.tracker.tick()
    assert (await world.state("a", "b")).online


# --- engines that are away --------------------------------------------------------------------------------------------


async def test_a_change_that_cannot_be_told_now_is_told_later(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)
    world.contacts.is_away = True
    await world.tracker.beat(b)
    await world.tracker.tick()
    world.tracker.close(b)
    assert not a.has_news()
    world.contacts.is_away = False
    await world.tracker.tick()
    assert told(a) == {"b": True}


async def test_silence_that_cannot_be_looked_for_now_is_noticed_later(world: World) -> None:
    a = await world.online("a/phone")
    await world.online("b/phone")
    told(a)
    world.store.is_away = True
    await world.wait(31)
    assert not a.has_news()
    world.store.is_away = False
    await world.wait(1)
    assert told(a) == {"b": False}


async def test_running_announces_without_a_tick(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)
    running = asyncio.create_task(world.tracker.run())
    woken = asyncio.Event()
    a.when_news(woken.set)
    await world.tracker.beat(b)
    await asyncio.wait_for(woken.wait(), 10)
    assert told(a) == {"b": True}
    woken.clear()
    await world.tracker.end_devices({"b/phone": 0})
    await asyncio.wait_for(woken.wait(), 10)
    assert told(a) == {"b": False}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# --- who sees whom ----------------------------------------------------------------------------------------------------


async def test_only_those_who_have_the_user_as_contact_are_told(world: World) -> None:
    # c has b; b does not have c.
    await world.contacts.add("c", "b")
    c, b = await world.online("c/phone"), await world.open("b/phone")
    assert told(c) == {"b": False}
    assert told(b) == {"a": False}
    await world.tracker.beat(b)
    await world.tracker.tick()
    assert told(c) == {"b": True}
    assert not b.has_news()


@pytest.mark.parametrize("blocker", ["a", "b"])
async def test_a_block_hides_both_from_each_other_at_once(world: World, blocker: str) -> None:
    a, b = await world.online("a/phone"), await world.online("b/phone")
    told(a), told(b)
    await world.relations.block(blocker, "b" if blocker == "a" else "a", 0)
    await world.tracker.tick()
    assert list(a.take()) == [Presence("b", False, 0)]
    assert list(b.take()) == [Presence("a", False, 0)]
    assert await world.state("a", "b") == Presence("b", False, 0)
    assert await world.state("b", "a") == Presence("a", False, 0)


async def test_those_whom_a_block_separates_hear_no_changes(world: World) -> None:
    await world.online("b/phone")
    await world.wait(30)
    await world.contacts.block("b", "a")
    await world.contacts.add("c", "b")
    a, c = await world.online("a/phone"), await world.online("c/phone")
    assert list(a.take()) == [Presence("b", False, 0)]
    told(c)
    await world.online("b/phone")
    assert told(c) == {"b": True}
    await world.wait(30)
    assert told(c) == {"b": False}
    assert not a.has_news()


async def test_unblocking_shows_the_state_at_once(world: World) -> None:
    await world.contacts.block("b", "a")
    a, b = await world.online("a/phone"), await world.online("b/phone")
    assert told(a) == {"b": False}
    assert told(b) == {"a": False}
    await world.relations.unblock("b", "a")
    await world.tracker.tick()
    assert told(a) == {"b": True}
    assert told(b) == {"a": True}


async def test_a_contact_added_while_the_stream_is_open_is_told_at_once_and_from_then_on(world: World) -> None:
    a, c = await world.online("a/phone"), await world.online("c/phone")
    told(a)
    await world.relations.add("a", "c", 0)
    await world.tracker.tick()
    assert told(a) == {"c": True}
    assert not c.has_news()
    await world.tracker.end_devices({"c/phone": 0})
    await world.tracker.tick()
    assert told(a) == {"c": False}


async def test_a_contact_removed_while_the_stream_is_open_is_told_no_more(world: World) -> None:
    a = await world.online("a/phone")
    told(a)
    await world.relations.remove("a", "b")
    await world.online("b/phone")
    assert not a.has_news()


async def test_a_block_that_comes_while_a_change_is_announced_hides_it_again(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)

    class BlockedMeanwhile(MemoryPresencePubSub):
        async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
            # Another server stores the block between the reading and the publishing.
            await world.contacts.block("a", "b")
            await world.news.publish(presence, watchers)

    tracker = Tracker(world.store, BlockedMeanwhile(), world.contacts, world.clock)
    await tracker.beat(b)
    await tracker.tick()
    assert list(a.take()) == [Presence("b", False, 0)]


async def test_a_change_that_comes_while_an_older_one_is_announced_is_told_last(world: World) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)

    class LeftMeanwhile(MemoryPresencePubSub):
        async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
            await world.store.leave("b/phone", world.clock.now_ms())
            await world.news.publish(presence, watchers)

    tracker = Tracker(world.store, LeftMeanwhile(), world.contacts, world.clock)
    await tracker.beat(b)
    await tracker.tick()
    assert told(a) == {"b": False}


async def test_a_change_between_subscribing_and_reading_the_first_states_is_not_lost(world: World) -> None:
    tracks: list[Track] = []

    class Slow(FakeContacts):
        async def blocked_either_way(self, user_id: str, others: Collection[str]) -> Collection[str]:
            world.tracker.close(await world.online("b/phone"))
            return await super().blocked_either_way(user_id, others)

    slow = Slow()
    slow.entries = world.contacts.entries
    tracker = Tracker(MemoryPresenceStore(), world.news, slow, world.clock)
    tracks.append(await tracker.open(Identity("a", "a/phone", world.clock.monotonic() + 1)))
    assert told(tracks[0]) == {"b": True}


# --- asking -----------------------------------------------------------------------------------------------------------


async def test_asking_shows_relations_in_either_direction_and_oneself(world: World) -> None:
    await world.contacts.add("reader", "read")
    world.contacts.together.add(frozenset(("reader", "member")))
    for user_id in ("read", "reader", "member"):
        await world.online(f"{user_id}/phone")
    assert (await world.state("reader", "read")).online
    assert (await world.state("read", "reader")).online
    assert (await world.state("reader", "member")).online
    assert (await world.state("reader", "reader")).online


async def test_strangers_and_people_who_are_not_there_look_the_same(world: World) -> None:
    await world.online("stranger/phone")
    await world.wait(30)
    await world.online("stranger/phone")
    assert await world.state("a", "stranger") == Presence("stranger", False, 0)
    assert await world.state("a", "nobody") == Presence("nobody", False, 0)


async def test_the_answers_are_in_the_order_of_the_question(world: World) -> None:
    await world.online("b/phone")
    answers = await world.tracker.presences("a", ["x", "b", "x", "a"])
    assert [(each.user_id, each.online) for each in answers] == [
        ("x", False),
        ("b", True),
        ("x", False),
        ("a", False),
    ]
    assert list(await world.tracker.presences("a", [])) == []


async def test_a_hundred_may_be_asked_for_and_no_more(world: World) -> None:
    ids = [f"u{number}" for number in range(100)]
    assert len(await world.tracker.presences("a", ids)) == 100
    with pytest.raises(Refusal) as refused:
        await world.tracker.presences("a", [*ids, "u100"])
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in refused.value.violations] == ["user_ids"]
    assert refused.value.metadata == {"limit": "100", "actual": "101"}


# --- gaps in the news -------------------------------------------------------------------------------------------------


class NewsWithGaps(MemoryPresencePubSub):
    """News that can lose what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[Callable[[], None]] = []
        self.is_lost = False

    async def publish(self, presence: Presence, watchers: Collection[str]) -> None:
        if not self.is_lost:
            await super().publish(presence, watchers)

    async def subscribe(
        self, user_id: str, notify: Callable[[Presence], None], gap: Callable[[], None]
    ) -> Callable[[], None]:
        self.gaps.append(gap)
        return await super().subscribe(user_id, notify, gap)

    def gap(self) -> None:
        self.is_lost = False
        for gap in self.gaps:
            gap()


@pytest.fixture
async def gappy() -> tuple[World, NewsWithGaps]:
    world, news = World(), NewsWithGaps()
    world.tracker = Tracker(world.store, news, world.contacts, world.clock)
    await world.friends("a", "b", "c")
    return world, news


async def test_after_a_gap_the_states_are_told_again_once_all_devices_were_heard(
    gappy: tuple[World, NewsWithGaps],
) -> None:
    world, news = gappy
    a = await world.online("a/phone")
    await world.online("b/phone")
    told(a)
    news.is_lost = True
    await world.online("c/phone")
    assert not a.has_news()
    news.gap()
    await world.wait(REFRESH_AFTER_SECONDS - 0.1)
    assert not a.has_news(), "heartbeats that were lost need their time to come again"
    await world.wait(0.1)
    assert told(a) == {"b": True, "c": True}
    await world.wait(REFRESH_AFTER_SECONDS)
    assert not a.has_news(), "once is enough"


async def test_what_is_told_while_the_states_are_read_again_is_newer(gappy: tuple[World, NewsWithGaps]) -> None:
    world, news = gappy
    a = await world.online("a/phone")
    told(a)
    # What waits from before is not.
    await news.publish(Presence("b", True, 0), ["a"])
    a.refresh_begins()
    await news.publish(Presence("c", True, 0), ["a"])
    a.refresh({"b": Presence("b", False, 0), "c": Presence("c", False, 0)})
    assert told(a) == {"b": False, "c": True}


async def test_who_told_a_newer_change_while_reading_is_not_told_the_older(gappy: tuple[World, NewsWithGaps]) -> None:
    world, news = gappy
    a = await world.online("a/phone")
    told(a)
    a.refresh_begins()
    await news.publish(Presence("c", True, 0), ["a"])
    assert told(a) == {"c": True}
    a.refresh({"c": Presence("c", False, 0)})
    assert not a.has_news()


async def test_streams_that_could_not_be_told_again_are_told_later(
    gappy: tuple[World, NewsWithGaps], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, news = gappy
    a = await world.online("a/phone")
    told(a)
    news.gap()

    async def away(_: Collection[str]) -> dict[str, Presence]:
        raise unavailable("the engine is away", Reason.STORAGE_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "presences", away)
        await world.wait(REFRESH_AFTER_SECONDS)
    assert not a.has_news()
    await world.wait(1)
    assert told(a) == {"b": False, "c": False}


async def test_a_closed_stream_is_not_told_again(gappy: tuple[World, NewsWithGaps]) -> None:
    world, news = gappy
    a = await world.online("a/phone")
    told(a)
    news.gap()
    world.tracker.close(a)
    await world.wait(REFRESH_AFTER_SECONDS)
    assert not a.has_news()


async def test_a_heartbeat_whose_answer_was_lost_is_announced_if_it_arrived(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await world.online("a/phone"), await world.open("b/phone")
    told(a)
    beat = world.store.beat

    async def unanswered(user_id: str, device_id: str, now_ms: int) -> bool:
        await beat(user_id, device_id, now_ms)
        raise unavailable("the engine is away", Reason.STORAGE_UNAVAILABLE)

    monkeypatch.setattr(world.store, "beat", unanswered)
    with pytest.raises(Refusal):
        await world.tracker.beat(b)
    await world.tracker.tick()
    assert told(a) == {"b": True}
