"""Presence against a model: a user is online if a device of theirs was heard of lately and has not been signed out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from presence_server.contacts import AnnouncedContacts
from presence_server.track import Track
from presence_server.tracker import Tracker
from tests.support.clock import FakeClock
from tests.support.contacts import FakeContacts
from tidings.backends.memory.presence import MemoryPresencePubSub, MemoryPresenceStore
from tidings.core.values import Identity

T = TypeVar("T")

USERS = "abc"
FOR_EVER = 1 << 60
users = st.sampled_from(USERS)
devices = st.sampled_from([f"{user_id}{number}" for user_id in USERS for number in (1, 2)])
servers = st.integers(0, 1)


class PresenceMachine(RuleBasedStateMachine):
    """Two presence servers on shared engines. Device "a1" is one of user "a"."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        store, news, self.contacts = MemoryPresenceStore(), MemoryPresencePubSub(), FakeContacts()
        self.trackers = [Tracker(store, news, self.contacts, self.clock) for _ in range(2)]
        # Any server announces what any has stored.
        self.relations = [AnnouncedContacts(self.contacts, each.relation_changed) for each in self.trackers]
        self.open_tracks: dict[str, tuple[Tracker, Track, dict[str, bool]]] = {}
        # The model: when each device was last heard of.
        self.heard: dict[str, int] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def close(self, device: str) -> None:
        if device in self.open_tracks:
            tracker, track, _ = self.open_tracks.pop(device)
            tracker.close(track)

    @rule(device=devices, server=servers)
    def connects(self, device: str, server: int) -> None:
        self.close(device)
        tracker = self.trackers[server]
        track = self.do(tracker.open(Identity(device[0], device, FOR_EVER)))
        self.open_tracks[device] = tracker, track, {}

    @rule(device=devices)
    def drops(self, device: str) -> None:
        self.close(device)

    @rule(device=devices)
    def beats(self, device: str) -> None:
        if device in self.open_tracks:
            tracker, track, _ = self.open_tracks[device]
            self.do(tracker.beat(track))
            self.heard[device] = self.clock.now_ms()

    @rule(device=devices)
    def signs_out(self, device: str) -> None:
        for tracker in self.trackers:
            self.do(tracker.end_devices({device: 0}))
        self.close(device)
        self.heard.pop(device, None)

    @rule(seconds=st.sampled_from([0.001, 1, 5, 14.999, 29.999, 30]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(one=users, other=users, server=servers)
    def adds(self, one: str, other: str, server: int) -> None:
        if one != other:
            self.do(self.relations[server].add(one, other, 0))

    @rule(one=users, other=users, server=servers)
    def removes(self, one: str, other: str, server: int) -> None:
        self.do(self.relations[server].remove(one, other))
        for device, (_, _, seen) in self.open_tracks.items():
            if device[0] == one:
                seen.pop(other, None)

    @rule(one=users, other=users, server=servers)
    def blocks(self, one: str, other: str, server: int) -> None:
        if one != other:
            self.do(self.relations[server].block(one, other, 0))

    @rule(one=users, other=users, server=servers)
    def unblocks(self, one: str, other: str, server: int) -> None:
        self.do(self.relations[server].unblock(one, other))

    def is_online(self, user_id: str) -> bool:
        return any(
            device[0] == user_id and self.clock.now_ms() - heard < 30_000 for device, heard in self.heard.items()
        )

    def may_see(self, viewer: str, user_id: str) -> bool:
        return not {(viewer, user_id), (user_id, viewer)} & self.contacts.blocks

    @invariant()
    def tidings_and_the_model_agree(self) -> None:
        for tracker in self.trackers:
            self.do(tracker.tick())
        self.streams_agree()
        self.answers_agree()

    def streams_agree(self) -> None:
        for device, (_, track, seen) in self.open_tracks.items():
            viewer = device[0]
            seen.update((presence.user_id, presence.online) for presence in track.take())
            expected = {
                other: self.may_see(viewer, other) and self.is_online(other)
                for one, other in self.contacts.entries
                if one == viewer
            }
            assert {other: seen.get(other) for other in expected} == expected, device

    def answers_agree(self) -> None:
        for viewer in USERS:
            for presence in self.do(self.trackers[0].presences(viewer, list(USERS))):
                user_id = presence.user_id
                related = user_id == viewer or {(viewer, user_id), (user_id, viewer)} & self.contacts.entries
                visible = bool(related) and self.may_see(viewer, user_id)
                assert presence.online == (visible and self.is_online(user_id))
                assert not presence.last_seen_ms or (visible and not presence.online)

    def teardown(self) -> None:
        self.loop.close()


TestPresence = PresenceMachine.TestCase
TestPresence.settings = settings(max_examples=60, stateful_step_count=40)
