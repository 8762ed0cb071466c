"""What devices show: worked out from the channels as they are when it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chat_server.channels.sequencer import Sequencer
from chat_server.sessions.registry import SessionRegistry
from notifier.notice import Notice, Notices
from tests.support.clock import FakeClock
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.log import SqliteChannelLog
from tidings.backends.sqlite.memberships import SqliteMemberships
from tidings.core.actions import Action, CreateChannel, Delete, Edit, MarkRead, RemoveMember, Send
from tidings.core.ids import direct_channel_id
from tidings.core.positions import Positions
from tidings.core.values import ChannelKind, Device, Platform, PushPreview, PushRequest, User

FULL, SENDER, NONE = PushPreview.FULL, PushPreview.SENDER, PushPreview.NONE


@dataclass
class World:
    owner: Sequencer
    directory: SqliteMemberships
    accounts: SqliteAccountStore
    contacts: SqliteContactStore
    sent: int = 0

    async def user(self, name: str) -> None:
        device = Device(f"v-{name}", name, "phone", Platform.ANDROID, 0, 0)
        await self.accounts.create_user(User(name, name, name.title(), "", 0), "hash", device, name.encode())

    async def do(self, user: str, action: Action, channel: str = "g1") -> int:
        return (await self.owner.submit(channel, user, action)).seq

    async def say(self, user: str, text: str = "hello", channel: str = "g1") -> PushRequest:
        self.sent += 1
        seq = await self.do(user, Send(f"{self.sent}", text), channel)
        return PushRequest("bob", channel, seq, user, text, 5)

    async def notice(
        self, request: PushRequest, device: PushPreview = FULL, operator: PushPreview = FULL, counts_all: bool = False
    ) -> Notice | None:
        return await Notices(self.directory, self.accounts, operator, "A message").compose(request, device, counts_all)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(tmp_path)
    clock = FakeClock()
    owner = Sequencer(SqliteChannelLog(database), SessionRegistry(), Positions(clock), clock)
    world = World(owner, SqliteMemberships(database), SqliteAccountStore(database), SqliteContactStore(database))
    for name in ("ann", "bob", "cid"):
        await world.user(name)
    await world.do("ann", CreateChannel(ChannelKind.GROUP, "the club", ("bob", "cid")))
    yield world
    await owner.close()
    await database.close()


async def test_a_groups_message_shows_who_where_and_what(world: World) -> None:
    request = await world.say("ann")
    assert await world.notice(request) == Notice(
        "bob", "g1", request.seq, "ann", "Ann · the club", "hello", unread=1, unread_in_all=None, created_at_ms=5
    )


async def test_a_direct_message_shows_who_and_what(world: World) -> None:
    channel = direct_channel_id("ann", "bob")
    await world.do("ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)), channel)
    notice = await world.notice(await world.say("ann", "psst", channel))
    assert notice is not None
    assert (notice.title, notice.body) == ("Ann", "psst")


@pytest.mark.parametrize(
    ("device", "operator", "shown"),
    [
        (FULL, FULL, ("ann", "Ann · the club", "hello")),
        (FULL, SENDER, ("ann", "Ann · the club", "A message")),
        (SENDER, FULL, ("ann", "Ann · the club", "A message")),
        (NONE, FULL, ("", "", "A message")),
        (FULL, NONE, ("", "", "A message")),
        (SENDER, NONE, ("", "", "A message")),
    ],
)
async def test_the_more_private_of_operator_and_device_decides(
    world: World, device: PushPreview, operator: PushPreview, shown: tuple[str, str, str]
) -> None:
    notice = await world.notice(await world.say("ann"), device, operator)
    assert notice is not None
    assert (notice.sender_id, notice.title, notice.body) == shown


async def test_the_count_is_of_others_messages_since_the_read_mark_as_they_are_when_it_is_sent(world: World) -> None:
    first = await world.say("ann")
    await world.say("bob", "mine does not count")
    await world.say("cid")
    notice = await world.notice(first)
    assert notice is not None and notice.unread == 2
    await world.do("bob", MarkRead(first.seq - 1))
    last = await world.say("ann")
    notice = await world.notice(last)
    assert notice is not None and notice.unread == 3
    await world.do("bob", MarkRead(first.seq))
    notice = await world.notice(last)
    assert notice is not None and notice.unread == 2


async def test_all_channels_are_counted_but_muted_ones(world: World) -> None:
    for channel, messages in (("g2", 2), ("g3", 4)):
        await world.do("ann", CreateChannel(ChannelKind.GROUP, "t", ("bob",)), channel)
        for _ in range(messages):
            await world.say("ann", channel=channel)
    request = await world.say("ann")
    notice = await world.notice(request, counts_all=True)
    assert notice is not None and notice.unread_in_all == 7
    await world.directory.set_mute("bob", "g3", muted=True)
    notice = await world.notice(request, counts_all=True)
    assert notice is not None and notice.unread_in_all == 3


async def test_deleted_messages_are_counted_neither_in_the_channel_nor_on_the_badge(world: World) -> None:
    deleted, edited = await world.say("ann"), await world.say("ann")
    await world.do("ann", Edit(edited.seq, "again"))
    await world.do("ann", Delete(deleted.seq))
    notice = await world.notice(edited, counts_all=True)
    assert notice is not None and (notice.unread, notice.unread_in_all) == (1, 1)


async def test_what_has_been_read_meanwhile_is_not_wanted(world: World) -> None:
    request = await world.say("ann")
    await world.do("bob", MarkRead(request.seq))
    assert await world.notice(request) is None


async def test_what_has_been_muted_meanwhile_is_not_wanted(world: World) -> None:
    request = await world.say("ann")
    await world.directory.set_mute("bob", "g1", muted=True)
    assert await world.notice(request) is None


async def test_who_has_left_meanwhile_is_not_woken(world: World) -> None:
    request = await world.say("ann")
    await world.do("ann", RemoveMember("bob"))
    assert await world.notice(request) is None


async def test_who_was_blocked_meanwhile_wakes_nobody(world: World) -> None:
    channel = direct_channel_id("ann", "bob")
    await world.do("ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)), channel)
    request = await world.say("ann", "psst", channel)
    await world.contacts.block("bob", "ann", 0)
    assert await world.notice(request) is None


async def test_a_silent_notice_has_nothing_but_counts(world: World) -> None:
    first = await world.say("ann")
    await world.say("ann")
    await world.do("bob", MarkRead(first.seq))
    silent = PushRequest("bob", "g1", first.seq, "", "", 5)
    notice = await world.notice(silent, counts_all=True)
    assert notice == Notice("bob", "g1", first.seq, "", "", "", unread=1, unread_in_all=1, created_at_ms=5)
    assert notice.silent
