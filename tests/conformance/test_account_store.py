"""What every `AccountStore` keeps."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.engines import Ports
from tidings.core.errors import Code, Refusal
from tidings.core.ports import AccountStore, RefreshTokenReused, TooManyDevices, UsernameTaken
from tidings.core.search_keys import search_key
from tidings.core.values import Device, Platform, PushProvider, PushToken, User

NOW = 1_750_000_000_000
DAY = 24 * 3600 * 1000
DEVICES = 3


@pytest.fixture
def store(ports: Ports) -> AccountStore:
    return ports.accounts


def user(name: str, display_name: str = "") -> User:
    return User(f"u-{name}", name, display_name or name, "", NOW)


def device(name: str, owner: str = "ada", at: int = NOW) -> Device:
    return Device(name, f"u-{owner}", f"the {name}", Platform.DESKTOP, at, at)


async def create(store: AccountStore, name: str, display_name: str = "") -> User:
    made = user(name, display_name)
    await store.create_user(made, f"hash of {name}", device(f"{name}-1", name), f"{name}-token".encode())
    return made


async def ids(store: AccountStore, owner: str = "ada") -> list[str]:
    return [each.device_id for each in await store.devices(f"u-{owner}")]


async def test_a_user_is_kept_with_what_signing_in_needs(store: AccountStore) -> None:
    made = await create(store, "ada", "Ada Lovelace")
    credentials = await store.credentials("ada")
    assert credentials is not None
    assert credentials.user == made
    assert credentials.password_hash == await store.password_hash("u-ada") == "hash of ada"
    assert await store.users(["u-ada", "u-nobody"]) == {"u-ada": made}
    assert await store.devices("u-ada") == [device("ada-1")]


async def test_nobody_is_nobody(store: AccountStore) -> None:
    assert await store.credentials("nobody") is None
    assert await store.password_hash("u-nobody") is None
    assert await store.users([]) == {}
    assert await store.devices("u-nobody") == []


async def test_a_username_is_one_persons_whatever_its_case(store: AccountStore) -> None:
    await create(store, "ada")
    other = User("u-other", "ADA", "x", "", NOW)
    with pytest.raises(UsernameTaken):
        await store.create_user(other, "h", device("other-1", "other"), b"t")
    assert await store.users(["u-other"]) == {}
    assert await store.rotate_refresh_token(b"t", b"t2", NOW) is None


async def test_of_simultaneous_sign_ups_with_one_name_one_succeeds(store: AccountStore) -> None:
    made = [User(f"u-{number}", "ada", "x", "", NOW) for number in range(5)]
    outcomes = await asyncio.gather(
        *(
            store.create_user(each, "h", Device(f"v{each.user_id}", each.user_id, "", Platform.WEB, NOW, NOW), token)
            for each, token in zip(made, (b"1", b"2", b"3", b"4", b"5"), strict=True)
        ),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["NoneType"] + 4 * ["UsernameTaken"]


async def test_search_finds_usernames_and_display_names_by_prefix_in_any_case(store: AccountStore) -> None:
    for name, display_name in (("bob", "Ada's friend"), ("ada", "Countess"), ("zoe", "ÄRGER"), ("carl", "Carl ada")):
        await create(store, name, display_name)

    async def found(prefix: str, after: str = "", limit: int = 10) -> list[str]:
        return [each.username for each in await store.search(prefix, after, limit, "u-carl")]

    assert await found("ada") == ["ada", "bob"]
    assert await found("ar") == ["zoe"]
    assert await found("c") == ["ada", "carl"]
    assert await found("%") == []
    assert await found("x") == []
    assert await found("a", limit=1) == ["ada"]
    assert await found("a", after="ada") == ["bob", "zoe"]
    assert await found("a", after="zoe") == []


@pytest.mark.parametrize(
    ("display_name", "prefixes"),
    [
        ("José Ñandú", ["jose n", "JOSÉ", "Jose\u0301"]),
        ("Straße", ["strasse", "STRASSE", "straß"]),
        ("Søren Łukasz", ["soren l", "SØREN Ł"]),
        ("Ⓐｌｉｃｅ", ["alice"]),
        ("ΆΝΝΑ", ["αννα", "άννα"]),
        ("Nguyễn Thị Minh Khai", ["nguyen thi minh k", "NGUYỄN THỊ MINH KHAI"]),
    ],
)
async def test_search_finds_a_display_name_whatever_its_accents_and_case(
    store: AccountStore, display_name: str, prefixes: list[str]
) -> None:
    await create(store, "x-1", display_name)
    for prefix in prefixes:
        assert [each.username for each in await store.search(search_key(prefix), "", 10, "u-x")] == ["x-1"], prefix
    await store.update_profile("u-x-1", "Other", None)
    for prefix in prefixes:
        assert await store.search(search_key(prefix), "", 10, "u-x") == []


async def test_search_leaves_out_who_blocked_the_asker_and_only_them(store: AccountStore, ports: Ports) -> None:
    for name in ("ada", "adam", "adele"):
        await create(store, name)
    await ports.contacts.block("u-adam", "u-ada", NOW)
    await ports.contacts.block("u-ada", "u-adele", NOW)
    assert [each.username for each in await store.search("ad", "", 2, "u-ada")] == ["ada", "adele"]
    assert [each.username for each in await store.search("ad", "", 10, "u-adam")] == ["ada", "adam", "adele"]


async def test_a_profile_changes_where_asked_and_is_found_by_its_new_name(store: AccountStore) -> None:
    await create(store, "ada")
    assert (await store.update_profile("u-ada", "Countess", None)).display_name == "Countess"
    changed = await store.update_profile("u-ada", None, "counts")
    assert (changed.display_name, changed.about) == ("Countess", "counts")
    assert await store.update_profile("u-ada", None, None) == changed
    assert await store.search("countess", "", 10, "u-ada") == [changed]
    assert (await store.update_profile("u-ada", None, "")).about == ""
    with pytest.raises(Refusal) as refused:
        await store.update_profile("u-nobody", "x", None)
    assert refused.value.code is Code.NOT_FOUND


async def test_a_refresh_token_works_once(store: AccountStore) -> None:
    await create(store, "ada")
    rotated = await store.rotate_refresh_token(b"ada-token", b"second", NOW + 5)
    assert rotated is not None
    assert (rotated.device_id, rotated.created_at_ms, rotated.last_active_at_ms) == ("ada-1", NOW, NOW + 5)
    assert await store.devices("u-ada") == [rotated]
    assert await store.rotate_refresh_token(b"second", b"third", NOW + 6) is not None
    assert await store.rotate_refresh_token(b"unknown", b"x", NOW + 7) is None


async def test_a_refresh_token_used_again_ends_the_devices_sign_in(store: AccountStore) -> None:
    await create(store, "ada")
    await store.sign_in_device(device(""), b"other device", DEVICES)
    await store.rotate_refresh_token(b"ada-token", b"second", NOW)
    await store.rotate_refresh_token(b"second", b"third", NOW + 1)
    with pytest.raises(RefreshTokenReused) as reused:
        await store.rotate_refresh_token(b"ada-token", b"thief", NOW + 30 * DAY)
    assert reused.value.revoked == {"ada-1": 3}
    for token in (b"third", b"thief", b"second", b"ada-token"):
        assert await store.rotate_refresh_token(token, b"x", NOW + 30 * DAY) is None
    assert await store.revoked(60) == {"ada-1": 3}
    assert await store.rotate_refresh_token(b"other device", b"y", NOW) is not None


async def test_a_refresh_token_used_again_for_the_same_new_one_is_the_same_again(store: AccountStore) -> None:
    await create(store, "ada")
    first = await store.rotate_refresh_token(b"ada-token", b"second", NOW)
    again = await asyncio.gather(*(store.rotate_refresh_token(b"ada-token", b"second", NOW + 1) for _ in range(3)))
    assert {None if each is None else each.device_id for each in (first, *again)} == {"ada-1"}
    assert await store.rotate_refresh_token(b"second", b"third", NOW + 2) is not None
    # The device has had its answer: whoever asks now is somebody else.
    with pytest.raises(RefreshTokenReused):
        await store.rotate_refresh_token(b"ada-token", b"second", NOW + 3)
    assert await store.rotate_refresh_token(b"third", b"x", NOW + 4) is None


async def test_another_devices_token_is_no_answer(store: AccountStore) -> None:
    await create(store, "ada")
    await store.sign_in_device(device(""), b"other device", DEVICES)
    await store.rotate_refresh_token(b"ada-token", b"second", NOW)
    with pytest.raises(RefreshTokenReused):
        await store.rotate_refresh_token(b"ada-token", b"other device", NOW)


async def test_of_simultaneous_uses_of_a_refresh_token_one_succeeds(store: AccountStore) -> None:
    await create(store, "ada")
    outcomes = await asyncio.gather(
        store.rotate_refresh_token(b"ada-token", b"one", NOW),
        store.rotate_refresh_token(b"ada-token", b"two", NOW),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["Device", "RefreshTokenReused"]
    assert await ids(store) == []


async def test_spent_tokens_are_remembered_for_thirty_days_of_use(store: AccountStore) -> None:
    await create(store, "ada")
    await store.rotate_refresh_token(b"ada-token", b"second", NOW)
    await store.rotate_refresh_token(b"second", b"third", NOW + 30 * DAY - 1)
    with pytest.raises(RefreshTokenReused):
        await store.rotate_refresh_token(b"ada-token", b"x", NOW + 30 * DAY)


async def test_replacing_the_refresh_token_leaves_one(store: AccountStore) -> None:
    await create(store, "ada")
    await store.rotate_refresh_token(b"ada-token", b"second", NOW)
    assert await store.replace_refresh_token("ada-1", b"new") == 3
    assert await store.rotate_refresh_token(b"second", b"x", NOW) is None
    assert await store.rotate_refresh_token(b"new", b"newer", NOW) is not None
    await store.revoke_device("u-ada", "ada-1")
    assert await store.replace_refresh_token("ada-1", b"newest") is None
    assert await store.replace_refresh_token("unknown", b"newest") is None
    assert await store.rotate_refresh_token(b"newest", b"x", NOW) is None


async def test_a_new_device_gets_an_id_of_its_own(store: AccountStore) -> None:
    await create(store, "ada")
    await create(store, "bob")
    nameless = await store.sign_in_device(device("", at=NOW + 1), b"1", 5)
    unknown = await store.sign_in_device(device("made-up", at=NOW + 2), b"2", 5)
    bobs = await store.sign_in_device(device("bob-1", at=NOW + 3), b"3", 5)
    assert len({"", "made-up", "bob-1", nameless.device_id, unknown.device_id, bobs.device_id}) == 6
    assert bobs.device_name == "the bob-1"
    assert await ids(store) == ["ada-1", nameless.device_id, unknown.device_id, bobs.device_id]
    assert await ids(store, "bob") == ["bob-1"]
    rotated = await store.rotate_refresh_token(b"3", b"4", NOW)
    assert rotated is not None
    assert rotated.user_id == "u-ada"


async def test_a_known_device_comes_back_as_what_it_was(store: AccountStore) -> None:
    await create(store, "ada")
    again = Device("ada-1", "u-ada", "renamed", Platform.IOS, NOW + 9, NOW + 9)
    kept = await store.sign_in_device(again, b"new", DEVICES)
    assert kept == Device("ada-1", "u-ada", "the ada-1", Platform.DESKTOP, NOW, NOW + 9)
    assert await store.devices("u-ada") == [kept]
    assert await store.rotate_refresh_token(b"ada-token", b"x", NOW) is None
    assert await store.rotate_refresh_token(b"new", b"newer", NOW) is not None


async def test_a_revoked_device_is_gone_until_it_signs_in_again(store: AccountStore) -> None:
    await create(store, "ada")
    assert await store.revoke_device("u-bob", "ada-1") is None
    assert await store.revoke_device("u-ada", "unknown") is None
    assert await ids(store) == ["ada-1"]
    assert await store.revoked(60) == {}
    assert await store.revoke_device("u-ada", "ada-1") == 1
    assert await store.revoke_device("u-ada", "ada-1") is None
    assert await store.devices("u-ada") == []
    assert await store.rotate_refresh_token(b"ada-token", b"x", NOW) is None
    back = await store.sign_in_device(device("ada-1", at=NOW + 7), b"new", DEVICES)
    assert await ids(store) == ["ada-1"]
    # Its access tokens from before still must not work, and those of now do.
    assert back.epoch == 2
    assert await store.revoked(60) == {"ada-1": 1}
    assert await store.revoke_device("u-ada", "ada-1") == 2
    assert await store.revoked(60) == {"ada-1": 2}


async def test_every_refresh_token_of_a_device_begins_an_epoch(store: AccountStore) -> None:
    await create(store, "ada")
    (first,) = await store.devices("u-ada")
    second = await store.rotate_refresh_token(b"ada-token", b"2", NOW)
    again = await store.rotate_refresh_token(b"ada-token", b"2", NOW)
    assert second is not None
    assert again is not None
    assert await store.replace_refresh_token("ada-1", b"3") == 3
    signed_in = await store.sign_in_device(device("ada-1"), b"4", DEVICES)
    another = await store.sign_in_device(device(""), b"5", DEVICES)
    epochs = [each.epoch for each in (first, second, again, signed_in, another)]
    assert epochs == [1, 2, 2, 4, 1]
    assert [each.epoch for each in await store.devices("u-ada")] == [4, 1]


async def test_of_devices_signed_out_the_last_hundred_are_known(store: AccountStore) -> None:
    await create(store, "ada")
    known = []
    for number in range(103):
        asked = Device("", "u-ada", f"{number}", Platform.BOT, NOW + number, NOW + number)
        kept = await store.sign_in_device(asked, b"%d" % number, 10)
        assert await store.revoke_device("u-ada", kept.device_id) == 1
        known.append(kept.device_id)
    assert await ids(store) == ["ada-1"]
    back = Device(known[0], "u-ada", "", Platform.BOT, NOW + 200, NOW + 200)
    assert (await store.sign_in_device(back, b"back", 10)).device_id != known[0]
    back = Device(known[102], "u-ada", "", Platform.BOT, NOW + 200, NOW + 200)
    assert (await store.sign_in_device(back, b"back too", 10)).device_name == "102"
    # Those forgotten do not come back, but their access tokens may.
    assert set(await store.revoked(60)) == set(known)


async def test_a_revoked_device_gets_no_push(store: AccountStore, ports: Ports) -> None:
    await create(store, "ada")
    second = await store.sign_in_device(device(""), b"2", DEVICES)
    third = await store.sign_in_device(device(""), b"3", DEVICES)
    for device_id in ("ada-1", second.device_id, third.device_id):
        await ports.push_tokens.set(PushToken(device_id, "u-ada", PushProvider.LOG, f"push to {device_id}"))
    await store.revoke_device("u-ada", second.device_id)
    assert {each.device_id for each in await ports.push_tokens.of_users(["u-ada"])} == {"ada-1", third.device_id}
    await store.set_password("u-ada", "hash of ada", "new", "ada-1")
    assert {each.device_id for each in await ports.push_tokens.of_users(["u-ada"])} == {"ada-1"}
    # Told by a call that was under way.
    await ports.push_tokens.set(PushToken(third.device_id, "u-ada", PushProvider.LOG, "late"))
    assert await ports.push_tokens.of_device(third.device_id) is None


async def test_devices_are_limited_and_those_signed_out_do_not_count(store: AccountStore) -> None:
    await create(store, "ada")
    await store.sign_in_device(device("", at=NOW + 1), b"2", DEVICES)
    await store.sign_in_device(device("", at=NOW + 2), b"3", DEVICES)
    with pytest.raises(TooManyDevices):
        await store.sign_in_device(device("", at=NOW + 3), b"4", DEVICES)
    await store.sign_in_device(device("ada-1", at=NOW + 4), b"5", DEVICES)
    await store.revoke_device("u-ada", "ada-1")
    await store.sign_in_device(device("", at=NOW + 6), b"6", DEVICES)
    with pytest.raises(TooManyDevices):
        await store.sign_in_device(device("ada-1", at=NOW + 7), b"7", DEVICES)
    assert len(await ids(store)) == DEVICES
    assert await store.rotate_refresh_token(b"7", b"x", NOW) is None


async def test_simultaneous_sign_ins_do_not_pass_the_limit_together(store: AccountStore) -> None:
    await create(store, "ada")
    outcomes = await asyncio.gather(
        *(store.sign_in_device(device(""), bytes([number]), DEVICES) for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, TooManyDevices) for each in outcomes) == 6
    assert len(await ids(store)) == DEVICES


async def test_a_new_password_signs_the_other_devices_out(store: AccountStore) -> None:
    await create(store, "ada")
    await create(store, "bob")
    second = await store.sign_in_device(device("", at=NOW + 1), b"2", DEVICES)
    third = await store.sign_in_device(device("", at=NOW + 2), b"3", DEVICES)
    await store.revoke_device("u-ada", third.device_id)
    assert await store.set_password("u-ada", "hash of ada", "new", second.device_id) == {"ada-1": 1}
    assert await store.password_hash("u-ada") == "new"
    assert await ids(store) == [second.device_id]
    assert await ids(store, "bob") == ["bob-1"]
    assert await store.revoked(60) == {"ada-1": 1, third.device_id: 1}
    assert await store.rotate_refresh_token(b"ada-token", b"x", NOW) is None
    assert await store.rotate_refresh_token(b"2", b"x", NOW) is not None


async def test_a_password_changed_meanwhile_is_not_changed_again(store: AccountStore) -> None:
    await create(store, "ada")
    second = await store.sign_in_device(device(""), b"2", DEVICES)
    outcomes = await asyncio.gather(
        store.set_password("u-ada", "hash of ada", "one", "ada-1"),
        store.set_password("u-ada", "hash of ada", "two", second.device_id),
    )
    assert outcomes.count(None) == 1
    assert await ids(store) == ([second.device_id] if outcomes[0] is None else ["ada-1"])
    assert await store.password_hash("u-ada") == ("two" if outcomes[0] is None else "one")
    assert await store.set_password("u-nobody", "", "x", "") is None


async def test_a_rehash_keeps_the_devices_and_a_newer_password(store: AccountStore) -> None:
    await create(store, "ada")
    await store.rehash_password("u-ada", "hash of ada", "better hash")
    assert await store.password_hash("u-ada") == "better hash"
    await store.rehash_password("u-ada", "hash of ada", "late")
    assert await store.password_hash("u-ada") == "better hash"
    assert await ids(store) == ["ada-1"]
