"""The SDK against a real server: what an application does with it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.crowd import in_log
from tests.support.processes import ServerProcess
from tests.support.settings import CHEAP_SIGN_UPS
from tidings.v1 import account_pb2, channel_pb2, chat_pb2, discovery_pb2, push_pb2
from tidings_client import Connection, Presence, ReplacedError, SignedOutError, Status, Tidings, TidingsError

pytestmark = pytest.mark.timeout(120)

COMPOSITIONS = ("embedded", "mesh")

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


@asynccontextmanager
async def person(endpoint: str, name: str, data: Path | None = None) -> AsyncIterator[Tidings]:
    """Signs somebody up whose username begins with `name`."""
    async with await Tidings.sign_up(endpoint, f"{name}.client-{next(_numbers)}", PASSWORD, data=data) as client:
        yield client


@pytest.fixture
async def ann(endpoint: str) -> AsyncIterator[Tidings]:
    async with person(endpoint, "ann") as client:
        yield client


@pytest.fixture
async def bob(endpoint: str) -> AsyncIterator[Tidings]:
    async with person(endpoint, "bob") as client:
        yield client


async def take(connection: Connection, kind: str, count: int = 1) -> list[Any]:
    """The bodies of the next events of a kind; others are passed over."""
    found: list[Any] = []
    async for event in connection:
        if event.HasField(kind):
            found.append(getattr(event, kind))
            if len(found) == count:
                break
    return found


async def texts(connection: Connection, count: int) -> list[str]:
    return [message.text for message in await take(connection, "message", count)]


async def presence_of(presence: Presence, user_id: str, online: bool) -> None:
    """Waits until somebody is online, or is not."""
    async for change in presence:
        if (change.user_id, change.online) == (user_id, online):
            return


async def read_by(connection: Connection, channel_id: str, user_id: str, seq: int) -> None:
    """Waits until it is told that somebody has read up to a seq."""
    while True:
        (receipt,) = await take(connection, "receipt")
        read = {member.user_id: member.read_seq for member in receipt.members}
        if receipt.channel_id == channel_id and read.get(user_id) == seq:
            return


def ids(users: Any) -> list[str]:
    return [each.user_id for each in users]


# --- conversations ----------------------------------------------------------------------------------------------------


async def test_a_conversation_as_both_sides_see_it(ann: Tidings, bob: Tidings) -> None:
    channel = await ann.open_direct_channel(bob.user_id)
    channel_id = channel.channel_id
    assert await bob.open_direct_channel(ann.user_id) == channel
    async with ann.connect() as here, bob.connect() as there:
        await here.until_live()
        await there.until_live()
        sent = await here.send(channel_id, "Helo 👋")
        assert (await take(there, "message"))[0].text == "Helo 👋"
        edited = await here.edit(channel_id, sent.seq, "Hello 👋")
        (change,) = await take(there, "message_edited")
        assert (change.message_seq, change.seq, change.text) == (sent.seq, edited.seq, "Hello 👋")
        answer = await there.send(channel_id, "Hi Ann", reply_to_seq=sent.seq)
        (message,) = [each for each in await take(here, "message", 2) if each.sender_id == bob.user_id]
        assert (message.seq, message.reply_to_seq) == (answer.seq, sent.seq)
        await there.mark_read(channel_id, answer.seq)
        await read_by(here, channel_id, bob.user_id, answer.seq)
        await there.set_typing(channel_id)
        (typing,) = await take(here, "typing")
        assert (typing.user_id, typing.typing) == (bob.user_id, True)
        deleted = await here.delete(channel_id, sent.seq)
        (deletion,) = await take(there, "message_deleted")
        assert (deletion.message_seq, deletion.seq) == (sent.seq, deleted.seq)
        again = await here.send(channel_id, "once", client_message_id="the same")
        assert await here.send(channel_id, "once", client_message_id="the same") == again
    assert [each.seq for each in await ann.list_messages(channel_id)] == [sent.seq, answer.seq, again.seq]


async def test_a_refusal_names_the_field_and_the_conversation_goes_on(ann: Tidings, bob: Tidings) -> None:
    channel = await ann.open_direct_channel(bob.user_id)
    async with ann.connect() as here:
        for text, said in (("", "must not be empty"), ("x" * 100_001, "at most 100,000")):
            with pytest.raises(TidingsError, match=said) as refused:
                await here.send(channel.channel_id, text)
            assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
            assert [each.field for each in refused.value.violations] == ["send_message.text"]
        with pytest.raises(TidingsError) as unknown:
            await here.send("nowhere", "hello")
        assert unknown.value.code is grpc.StatusCode.NOT_FOUND
        assert (await here.send(channel.channel_id, "🙂" * 100_000)).seq == 1
        assert here.reconnects == 0


async def test_two_devices_of_one_person_see_the_same_log(endpoint: str, ann: Tidings, bob: Tidings) -> None:
    channel_id = (await ann.open_direct_channel(bob.user_id)).channel_id
    async with (
        await Tidings.log_in(endpoint, ann.user.username.upper(), PASSWORD, device_name="phone") as phone,
        ann.connect() as desk,
        phone.connect() as pocket,
        bob.connect() as there,
    ):
        assert phone.user == ann.user
        assert phone.device_id != ann.device_id
        for number in range(10):
            await (desk, pocket, there)[number % 3].send(channel_id, f"{number}")
        copies = [await take(each, "message", 10) for each in (desk, pocket, there)]
        assert [message.text for message in copies[0]] == [f"{number}" for number in range(10)]
        # What a device made itself is, to the byte, what everybody else was sent.
        assert copies[0] == copies[1] == copies[2]
        await pocket.mark_read(channel_id, 10)
        await read_by(desk, channel_id, ann.user_id, 10)
        assert (await ann.get_channel(channel_id)).my_read_seq == 10
        # A client that has just been installed asks, and receipts go on from there.
        [members] = [each.members for each in await bob.list_channels() if each.channel_id == channel_id]
        assert {each.user_id: each.read_seq for each in members} == {ann.user_id: 10, bob.user_id: 0}


async def test_a_device_goes_on_from_its_file(endpoint: str, ann: Tidings, tmp_path: Path) -> None:
    data = tmp_path / "bob"
    async with person(endpoint, "bob", data) as bob:
        username, device_id = bob.user.username, bob.device_id
        channel_id = (await ann.open_direct_channel(bob.user_id)).channel_id
        async with ann.connect() as here, bob.connect() as there:
            await here.send(channel_id, "1")
            await here.send(channel_id, "2")
            assert await texts(there, 2) == ["1", "2"]
    async with ann.connect() as here:
        await here.send(channel_id, "3")
        await here.edit(channel_id, 1, "one")
    async with await Tidings.resume(data) as bob, bob.connect() as there:
        assert (bob.user.username, bob.device_id) == (username, device_id)
        seen: list[chat_pb2.Event] = []
        async for event in there:
            if event.HasField("sync_complete"):
                break
            if in_log(event):
                seen.append(event)
        assert [in_log(event) for event in seen] == [(channel_id, 3), (channel_id, 4)]
        await bob.log_out()
    with pytest.raises(SignedOutError, match="log in"):
        await Tidings.resume(data)
    async with ann.connect() as here:
        await here.send(channel_id, "5")
    # The same device again, and it has not forgotten how far it was.
    async with await Tidings.log_in(endpoint, username, PASSWORD, data=data) as bob, bob.connect() as there:
        assert bob.device_id == device_id
        assert await texts(there, 1) == ["5"]
    with pytest.raises(SignedOutError, match="not there"):
        await Tidings.resume(tmp_path / "nobody")


async def test_another_user_on_the_same_file_starts_from_the_beginning(
    endpoint: str, ann: Tidings, tmp_path: Path
) -> None:
    data = tmp_path / "shared"
    async with person(endpoint, "bob", data) as bob:
        bob_device = bob.device_id
    async with await Tidings.log_in(endpoint, ann.user.username, PASSWORD, data=data) as second:
        assert second.user_id == ann.user_id
        assert second.device_id not in (ann.device_id, bob_device)


async def test_a_device_that_was_revoked_is_signed_out_until_it_logs_in_again(
    endpoint: str, ann: Tidings, tmp_path: Path
) -> None:
    data = tmp_path / "phone"
    name = ann.user.username
    channel_id = (await ann.create_group("of one")).channel_id
    async with await Tidings.log_in(endpoint, name, PASSWORD, data=data) as phone, phone.connect() as stream:
        device_id = phone.device_id
        seen: set[str | None] = set()
        # In the mesh, what was made a moment ago may come behind the replay.
        while not seen >= {"sync_complete", "channel_updated"}:
            seen.add((await anext(stream)).WhichOneof("body"))
        await ann.revoke_device(device_id)
        with pytest.raises(SignedOutError):
            await anext(stream)
        with pytest.raises(SignedOutError):
            await phone.list_channels()
    async with ann.connect() as here:
        await here.send(channel_id, "meanwhile")
    async with await Tidings.log_in(endpoint, name, PASSWORD, data=data) as phone, phone.connect() as stream:
        assert phone.device_id == device_id
        while not (event := await anext(stream)).HasField("sync_complete"):
            assert event.message.text == "meanwhile" or not in_log(event), "the group's beginning came before"


async def test_a_newer_stream_of_the_same_device_ends_the_older_one(endpoint: str, ann: Tidings) -> None:
    # As if the file had been copied.
    copy = await Tidings.log_in(endpoint, ann.user.username, PASSWORD)
    copy._api.keeper.replace(ann._api.device.tokens or account_pb2.Tokens())
    async with copy, ann.connect() as older:
        await older.until_live()
        async with copy.connect() as newer:
            await newer.until_live()
            with pytest.raises(ReplacedError):
                async for _ in older:
                    pass
            assert newer.status is Status.LIVE


async def test_the_server_is_killed_under_a_live_connection_and_comes_back(folder: Path) -> None:
    async with (
        ServerProcess(folder, config=CHEAP_SIGN_UPS) as server,
        person(server.endpoint, "ann") as ann,
        person(server.endpoint, "bob") as bob,
    ):
        channel_id = (await ann.open_direct_channel(bob.user_id)).channel_id
        statuses: list[Status] = []
        async with ann.connect(on_status=statuses.append) as here, bob.connect() as there:
            await here.send(channel_id, "before")
            assert await texts(there, 1) == ["before"]
            await server.kill()
            meanwhile = [asyncio.create_task(here.send(channel_id, f"{number}")) for number in range(20)]
            await server.start()
            results = [await each for each in meanwhile]
            assert [each.seq for each in results] == list(range(2, 22))
            assert await texts(there, 20) == [f"{number}" for number in range(20)]
            assert here.reconnects == there.reconnects == 1
            assert (await ann.get_channel(channel_id)).head_seq == 21
        assert [each for each in statuses if each is not Status.SYNCING] == [
            Status.LIVE,
            Status.CONNECTING,
            Status.LIVE,
            Status.CONNECTING,
            Status.CLOSED,
        ]


async def test_tokens_are_renewed_under_way(folder: Path) -> None:
    config = f"access_token_seconds = 1.5\n{CHEAP_SIGN_UPS}"
    async with ServerProcess(folder, config=config) as server, person(server.endpoint, "ann") as ann:
        first = ann._api.keeper.access_token
        renewed = asyncio.Queue[str]()
        ann._api.keeper.listen(lambda: renewed.put_nowait(ann._api.keeper.access_token))
        async with ann.connect() as here:
            group = await ann.create_group("of one")
            tokens = {first, await renewed.get(), await renewed.get()}
            assert (await here.send(group.channel_id, "still here")).seq == group.head_seq + 1
            assert here.reconnects == 0
        assert len(tokens) == 3


# --- presence ---------------------------------------------------------------------------------------------------------


async def test_contacts_see_one_another_come_and_log_out(endpoint: str, ann: Tidings, bob: Tidings) -> None:
    await ann.add_contact(bob.user_id)
    async with ann.presence() as presence:
        await presence_of(presence, bob.user_id, online=False)
        async with bob.presence():
            await presence_of(presence, bob.user_id, online=True)
            (state,) = await ann.get_presence([bob.user_id])
            assert (state.user_id, state.online, state.HasField("last_seen")) == (bob.user_id, True, False)
            # Long before the thirty seconds that a lost heartbeat takes.
            async with asyncio.timeout(10):
                await bob.log_out()
                await presence_of(presence, bob.user_id, online=False)
        assert presence.contacts[bob.user_id].HasField("last_seen")
        (state,) = await ann.get_presence([bob.user_id])
        assert (state.online, state.HasField("last_seen")) == (False, True)


async def test_a_presence_ends_with_the_sign_in(bob: Tidings) -> None:
    async with bob.presence() as presence:
        await bob.log_out()
        with pytest.raises(SignedOutError):
            await anext(presence)


# --- every single call ------------------------------------------------------------------------------------------------


async def test_signing_in(endpoint: str) -> None:
    name = f"Zoe.client-{next(_numbers)}"
    async with await Tidings.sign_up(
        endpoint, name, PASSWORD, display_name="Zoë", device_name="laptop", platform=account_pb2.PLATFORM_WEB
    ) as zoe:
        assert (zoe.user.username, zoe.user.display_name, zoe.user_id) == (name.lower(), "Zoë", zoe.user.user_id)
        assert zoe.servers
        assert {each.kind for each in zoe.servers} == {discovery_pb2.SERVER_KIND_CHAT}
        with pytest.raises(TidingsError) as taken:
            await Tidings.sign_up(endpoint, name, PASSWORD)
        assert taken.value.code is grpc.StatusCode.ALREADY_EXISTS
        with pytest.raises(TidingsError) as wrong:
            await Tidings.log_in(endpoint, name, "wrong horse battery")
        assert wrong.value.code is grpc.StatusCode.UNAUTHENTICATED
        (device,) = await zoe.list_devices()
        assert (device.device_id, device.device_name, device.platform, device.current) == (
            zoe.device_id,
            "laptop",
            account_pb2.PLATFORM_WEB,
            True,
        )
        await zoe.log_out()
        with pytest.raises(SignedOutError):
            await zoe.list_devices()


async def test_users_and_devices(endpoint: str, ann: Tidings, bob: Tidings) -> None:
    assert await ann.get_user(bob.user_id) == bob.user
    found = await ann.search_users(bob.user.username[:-1].upper(), page_size=100)
    assert bob.user_id in ids(found.users)
    assert found.next_page_token == ""
    first = await ann.search_users("a", page_size=1)
    assert len(first.users) == 1
    changed = await bob.update_profile(about="Builds things")
    assert (changed.about, changed.display_name) == ("Builds things", bob.user.username)
    assert await bob.update_profile(display_name="Bob") == bob.user == await ann.get_user(bob.user_id)
    assert (bob.user.about, bob.user.display_name) == ("Builds things", "Bob")
    async with await Tidings.log_in(endpoint, bob.user.username, PASSWORD, device_name="phone") as phone:
        devices = await bob.list_devices()
        assert [(each.device_id, each.current) for each in devices] == [(bob.device_id, True), (phone.device_id, False)]
        await bob.revoke_device(phone.device_id)
        with pytest.raises(SignedOutError):
            await phone.list_devices()
    assert [each.device_id for each in await bob.list_devices()] == [bob.device_id]


async def test_a_changed_password_signs_the_other_devices_out(endpoint: str, bob: Tidings) -> None:
    name = bob.user.username
    async with (
        await Tidings.log_in(endpoint, name, PASSWORD) as phone,
        bob.connect() as stream,
    ):
        await stream.until_live()
        with pytest.raises(TidingsError) as wrong:
            await bob.change_password("wrong horse battery", "battery staple")
        assert wrong.value.code is grpc.StatusCode.UNAUTHENTICATED
        await bob.change_password(PASSWORD, "battery staple")
        with pytest.raises(SignedOutError):
            await phone.list_devices()
        assert len(await bob.list_devices()) == 1
        group = await bob.create_group("mine")
        assert (await stream.send(group.channel_id, "still here")).seq == group.head_seq + 1
        assert stream.reconnects == 0
    async with await Tidings.log_in(endpoint, name, "battery staple") as again:
        assert again.user_id == bob.user_id


async def test_contacts_and_blocks(ann: Tidings, bob: Tidings) -> None:
    contact = await ann.add_contact(bob.user_id)
    assert contact.user == bob.user
    assert list((await ann.list_contacts()).contacts) == [contact]
    channel = await ann.open_direct_channel(bob.user_id)
    await ann.block_user(bob.user_id)
    assert ids((await ann.list_contacts()).blocked_users) == [bob.user_id]
    async with bob.connect() as there:
        with pytest.raises(TidingsError) as blocked:
            await there.send(channel.channel_id, "hello?")
        assert (blocked.value.code, blocked.value.reason) == (grpc.StatusCode.PERMISSION_DENIED, "BLOCKED")
        await ann.unblock_user(bob.user_id)
        assert (await there.send(channel.channel_id, "hello!")).seq == 1
    await ann.remove_contact(bob.user_id)
    left = await ann.list_contacts()
    assert (len(left.contacts), len(left.blocked_users)) == (0, 0)


async def test_groups(endpoint: str, ann: Tidings, bob: Tidings) -> None:
    async with person(endpoint, "cyd") as cyd, bob.connect() as there:
        await there.until_live()
        group = await ann.create_group("Climbing", [bob.user_id])
        channel_id = group.channel_id
        assert (group.title, group.kind) == ("Climbing", channel_pb2.CHANNEL_KIND_GROUP)
        assert ids(group.members) == [ann.user_id, bob.user_id]
        assert [each.channel_id for each in await bob.list_channels()] == [channel_id]
        assert ids((await ann.add_members(channel_id, [cyd.user_id])).members) == [
            ann.user_id,
            bob.user_id,
            cyd.user_id,
        ]
        assert (await ann.retitle_group(channel_id, "Hiking")).title == "Hiking"
        changed = await ann.change_role(channel_id, bob.user_id, channel_pb2.MEMBER_ROLE_ADMIN)
        assert changed.members[1].role == channel_pb2.MEMBER_ROLE_ADMIN
        await bob.set_mute(channel_id, muted=True)
        assert (await bob.get_channel(channel_id)).muted
        assert not (await ann.get_channel(channel_id)).muted
        await bob.set_mute(channel_id, muted=False)
        assert not (await bob.get_channel(channel_id)).muted
        assert ids((await bob.remove_member(channel_id, cyd.user_id)).members) == [ann.user_id, bob.user_id]
        with pytest.raises(TidingsError) as gone:
            await cyd.get_channel(channel_id)
        assert gone.value.code is grpc.StatusCode.NOT_FOUND
        await ann.leave_group(channel_id)
        (owner,) = (await bob.get_channel(channel_id)).members
        assert (owner.user_id, owner.role) == (bob.user_id, channel_pb2.MEMBER_ROLE_OWNER)
        assert await ann.list_channels() == []
        log = await bob.list_events(channel_id)
        live = [event async for event in _until(there, channel_id, len(log))]
    assert live == list(log)


async def _until(connection: Connection, channel_id: str, seq: int) -> AsyncIterator[chat_pb2.Event]:
    """The events of a channel up to a seq."""
    async for event in connection:
        place = in_log(event)
        if place is not None and place[0] == channel_id:
            yield event
            if place[1] == seq:
                return


async def test_history_in_both_directions(ann: Tidings, bob: Tidings) -> None:
    channel_id = (await ann.open_direct_channel(bob.user_id)).channel_id
    async with ann.connect() as here:
        for number in range(1, 11):
            await here.send(channel_id, f"{number}")
        await here.edit(channel_id, 10, "ten")
        await here.delete(channel_id, 9)
    latest = await ann.list_messages(channel_id, page_size=3)
    assert [(each.seq, each.text, each.deleted) for each in latest] == [
        (8, "8", False),
        (9, "", True),
        (10, "ten", False),
    ]
    assert [each.seq for each in await ann.list_messages(channel_id, before_seq=5, page_size=2)] == [3, 4]
    assert [each.seq for each in await ann.list_messages(channel_id, after_seq=5, page_size=2)] == [6, 7]

    async def events(**arguments: int) -> list[int]:
        return [each[1] for each in map(in_log, await ann.list_events(channel_id, **arguments)) if each is not None]

    assert await events() == list(range(1, 13))
    assert await events(page_size=2) == [11, 12]
    assert await events(before_seq=3) == [1, 2]
    assert await events(after_seq=9, page_size=2) == [10, 11]
    # An after_seq of 0 reads the log from its first entry.
    assert await events(after_seq=0, page_size=2) == [1, 2]
    assert [each.seq for each in await ann.list_messages(channel_id, after_seq=0, page_size=2)] == [1, 2]


async def test_push_tokens(ann: Tidings) -> None:
    with pytest.raises(TidingsError) as refused:
        await ann.register_push_token(push_pb2.PUSH_PROVIDER_LOG, "")
    assert [each.field for each in refused.value.violations] == ["token"]
    await ann.register_push_token(push_pb2.PUSH_PROVIDER_LOG, "somewhere")
    await ann.unregister_push_token()
    await ann.unregister_push_token()


async def test_servers_are_recommended(composition: str, endpoint: str, ann: Tidings) -> None:
    for kind in (discovery_pb2.SERVER_KIND_CHAT, discovery_pb2.SERVER_KIND_PRESENCE):
        first, *others = await ann.recommend_servers(kind)
        assert {each.kind for each in (first, *others)} == {kind}
        assert (first.endpoint == endpoint) is (not others) is (composition == "embedded")
        # It comes last now; and first, where there is no other.
        *_, last = await ann.recommend_servers(kind, exclude=[first.server_id])
        assert last.server_id == first.server_id
