"""What every `ContactStore` keeps."""

from __future__ import annotations

import pytest

from tests.conformance.engines import Ports
from tidings.core.ports import ContactStore
from tidings.core.values import (
    Appended,
    ChannelKind,
    ChannelRecord,
    Contact,
    Device,
    EntryKind,
    LogBatch,
    LogEntry,
    MembershipChange,
    Platform,
    Role,
    User,
)

NOW = 1_750_000_000_000


@pytest.fixture
def store(ports: Ports) -> ContactStore:
    return ports.contacts


def user(name: str) -> User:
    return User(f"u-{name}", name, name.title(), "", NOW)


@pytest.fixture(autouse=True)
async def people(ports: Ports) -> None:
    for name in ("zoe", "ada", "bob", "carl"):
        device = Device(f"v-{name}", f"u-{name}", "", Platform.WEB, NOW, NOW)
        await ports.accounts.create_user(user(name), "hash", device, name.encode())


async def test_contacts_are_listed_by_username_with_when_they_were_added(store: ContactStore) -> None:
    assert await store.contacts("u-ada") == []
    assert await store.add("u-ada", "u-zoe", NOW) == NOW
    assert await store.add("u-ada", "u-bob", NOW + 1) == NOW + 1
    assert await store.contacts("u-ada") == [Contact(user("bob"), NOW + 1), Contact(user("zoe"), NOW)]
    assert await store.contacts("u-zoe") == []


async def test_adding_again_keeps_the_first_time(store: ContactStore) -> None:
    await store.add("u-ada", "u-bob", NOW)
    assert await store.add("u-ada", "u-bob", NOW + 9) == NOW
    assert await store.contacts("u-ada") == [Contact(user("bob"), NOW)]


async def test_a_removed_contact_is_gone_on_one_side(store: ContactStore) -> None:
    await store.add("u-ada", "u-bob", NOW)
    await store.add("u-bob", "u-ada", NOW)
    await store.remove("u-ada", "u-bob")
    await store.remove("u-ada", "u-bob")
    assert await store.contacts("u-ada") == []
    assert await store.contacts("u-bob") == [Contact(user("ada"), NOW)]
    assert await store.add("u-ada", "u-bob", NOW + 9) == NOW + 9


async def test_watchers_are_those_who_have_somebody_as_contact(store: ContactStore) -> None:
    await store.add("u-ada", "u-bob", NOW)
    await store.add("u-zoe", "u-bob", NOW)
    await store.add("u-bob", "u-carl", NOW)
    assert set(await store.watchers("u-bob")) == {"u-ada", "u-zoe"}
    assert set(await store.watchers("u-ada")) == set()


async def test_blocks_are_listed_by_username(store: ContactStore) -> None:
    await store.block("u-ada", "u-zoe", NOW)
    await store.block("u-ada", "u-bob", NOW)
    await store.block("u-ada", "u-bob", NOW + 1)
    assert await store.blocked("u-ada") == [user("bob"), user("zoe")]
    assert await store.blocked("u-bob") == []
    await store.unblock("u-ada", "u-bob")
    await store.unblock("u-ada", "u-bob")
    assert await store.blocked("u-ada") == [user("zoe")]


async def test_a_block_counts_both_ways_until_both_are_lifted(store: ContactStore) -> None:
    everyone = ["u-ada", "u-bob", "u-carl", "u-zoe"]
    await store.block("u-ada", "u-bob", NOW)
    await store.block("u-zoe", "u-ada", NOW)
    await store.block("u-ada", "u-zoe", NOW)
    assert set(await store.blocked_either_way("u-ada", everyone)) == {"u-bob", "u-zoe"}
    assert set(await store.blocked_either_way("u-bob", everyone)) == {"u-ada"}
    assert set(await store.blocked_either_way("u-ada", ["u-carl"])) == set()
    assert set(await store.blocked_either_way("u-ada", [])) == set()
    await store.unblock("u-ada", "u-zoe")
    assert set(await store.blocked_either_way("u-ada", everyone)) == {"u-bob", "u-zoe"}
    await store.unblock("u-zoe", "u-ada")
    assert set(await store.blocked_either_way("u-ada", everyone)) == {"u-bob"}


async def test_blocking_leaves_the_contacts(store: ContactStore) -> None:
    await store.add("u-ada", "u-bob", NOW)
    await store.block("u-ada", "u-bob", NOW)
    assert await store.contacts("u-ada") == [Contact(user("bob"), NOW)]


async def test_contacts_and_blocks_are_counted_besides_one(store: ContactStore) -> None:
    for add, remove, count in (
        (store.add, store.remove, store.contact_count),
        (store.block, store.unblock, store.blocked_count),
    ):
        assert await count("u-ada", "u-bob") == 0
        for other in ("u-bob", "u-carl", "u-bob"):
            await add("u-ada", other, NOW)
        await add("u-zoe", "u-ada", NOW)
        assert [await count("u-ada", each) for each in ("u-bob", "u-zoe", "")] == [1, 2, 2]
        for other in ("u-bob", "u-bob", "u-zoe"):
            await remove("u-ada", other)
        assert [await count("u-ada", each) for each in ("u-bob", "u-carl")] == [1, 0]
        await add("u-ada", "u-bob", NOW)
        assert await count("u-ada", "u-zoe") == 2


async def test_related_are_contacts_either_way(store: ContactStore) -> None:
    everyone = ["u-ada", "u-bob", "u-carl", "u-zoe"]
    await store.add("u-ada", "u-bob", NOW)
    await store.add("u-zoe", "u-ada", NOW)
    assert set(await store.related("u-ada", everyone)) == {"u-bob", "u-zoe"}
    assert set(await store.related("u-bob", everyone)) == {"u-ada"}
    assert set(await store.related("u-ada", ["u-carl", "u-zoe"])) == {"u-zoe"}
    assert set(await store.related("u-carl", everyone)) == set()


async def test_related_are_those_who_share_a_channel_now(store: ContactStore, ports: Ports) -> None:
    everyone = ["u-ada", "u-bob", "u-carl", "u-zoe"]
    joined = [MembershipChange(f"u-{name}", Role.MEMBER, 1, NOW) for name in ("ada", "bob", "zoe")]
    record = ChannelRecord("g1", ChannelKind.GROUP, NOW)
    first = LogEntry(1, 1, EntryKind.MEMBERSHIP, "u-ada", b"")
    made = LogBatch("g1", (first,), created=record, members=tuple(joined), title="")
    assert await ports.log.append(made) == Appended()
    assert set(await store.related("u-ada", everyone)) == {"u-bob", "u-zoe"}
    assert set(await store.related("u-ada", ["u-bob"])) == {"u-bob"}
    left = MembershipChange("u-zoe", Role.MEMBER, 1, NOW, until_seq=2)
    second = LogEntry(2, 2, EntryKind.MEMBERSHIP, "u-zoe", b"")
    assert await ports.log.append(LogBatch("g1", (second,), members=(left,))) == Appended()
    assert set(await store.related("u-ada", everyone)) == {"u-bob"}
    assert set(await store.related("u-zoe", everyone)) == set()
