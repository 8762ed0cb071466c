"""What the accounts on Cassandra keep when several servers work on them, and when answers of Cassandra are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import cast

import pytest
from cassandra.cluster import Session

from tests.support.clock import FakeClock
from tests.support.engines import Engines
from tidings.backends.cassandra.accounts import CassandraAccountStore
from tidings.backends.cassandra.client import CassandraClient, Row, Statement, Write
from tidings.backends.cassandra.contacts import CassandraContactStore
from tidings.backends.cassandra.driver import CassandraSettings
from tidings.backends.cassandra.push_tokens import CassandraPushTokenStore
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.ids import new_device_id, new_user_id
from tidings.core.ports import RefreshTokenReused, TooManyDevices, UsernameTaken
from tidings.core.reasons import Reason
from tidings.core.values import Device, Platform, PushProvider, PushToken, User

NOW = 1_750_000_000_000


class Unsteady(CassandraClient):
    """A connection that loses requests or answers: of the statements that `loses` picks, the next."""

    loses_request: Callable[[str], bool] | None = None
    loses_answer: Callable[[str], bool] | None = None

    def __init__(self, settings: CassandraSettings, session: Session) -> None:
        super().__init__(settings, session)
        self.lost = asyncio.Event()

    async def execute(self, statement: Statement, values: Sequence[object] = ()) -> list[Row]:
        return await self._unsteady([statement], lambda: super(Unsteady, self).execute(statement, values))

    async def batch(self, statements: Iterable[Write], conditional: bool = False, logged: bool = False) -> list[Row]:
        writes = list(statements)
        return await self._unsteady(
            [statement for statement, _ in writes],
            lambda: super(Unsteady, self).batch(writes, conditional, logged),
        )

    async def _unsteady(self, statements: Sequence[Statement], work: Callable[[], object]) -> list[Row]:
        for picks, is_done in ((self.loses_request, False), (self.loses_answer, True)):
            if picks is not None and any(picks(each.cql) for each in statements):
                self.loses_request = self.loses_answer = None
                self.lost.set()
                if is_done:
                    await cast("asyncio.Future[list[Row]]", work())
                raise unavailable("lost", Reason.STORAGE_UNAVAILABLE)
        return await cast("asyncio.Future[list[Row]]", work())


class Server:
    """What one process has."""

    def __init__(self, cassandra: Unsteady) -> None:
        self.cassandra = cassandra
        self.clock = FakeClock()
        self.accounts = CassandraAccountStore(cassandra, self.clock)
        self.contacts = CassandraContactStore(cassandra, self.accounts, self.clock)
        self.push_tokens = CassandraPushTokenStore(cassandra, self.clock)


@pytest.fixture(scope="module")
def settings(engines: Engines) -> CassandraSettings:
    """A keyspace for all tests here: each makes people of its own."""
    space = engines.cassandra()
    return CassandraSettings((space.address,), space.keyspace)


@pytest.fixture
async def servers(settings: CassandraSettings) -> AsyncIterator[Sequence[Server]]:
    connections = [await Unsteady.open(settings) for _ in range(3)]
    yield [Server(each) for each in connections]
    for each in connections:
        await each.close()


@pytest.fixture
def one(servers: Sequence[Server]) -> Server:
    return servers[0]


@pytest.fixture
def other(servers: Sequence[Server]) -> Server:
    return servers[1]


def somebody(username: str = "", display_name: str = "") -> User:
    user_id = new_user_id()
    return User(user_id, username or user_id, display_name or user_id, "about", NOW)


def device_of(user: User, name: str = "laptop") -> Device:
    return Device(new_device_id(), user.user_id, name, Platform.DESKTOP, NOW, NOW)


def token_of(device: Device) -> bytes:
    return f"token of {device.device_id}".encode()


async def sign_up(server: Server, user: User) -> Device:
    device = device_of(user)
    await server.accounts.create_user(user, "hash", device, token_of(device))
    return device


async def found(server: Server, prefix: str, *, after: str = "", limit: int = 50) -> list[str]:
    return [each.username for each in await server.accounts.search(prefix, after, limit, "u-nobody")]


def claims(cql: str) -> bool:
    return cql.startswith("INSERT INTO usernames")


def changes(cql: str) -> bool:
    return cql.startswith("UPDATE accounts SET version")


# --- signing up -------------------------------------------------------------------------------------------------------


async def test_simultaneous_sign_ups_of_one_name_on_several_servers_make_one_account(servers: Sequence[Server]) -> None:
    name = new_user_id()
    people = [somebody(name if number % 2 else name.upper()) for number in range(12)]
    outcomes = await asyncio.gather(
        *(sign_up(servers[number % 3], each) for number, each in enumerate(people)), return_exceptions=True
    )
    winners = [user for user, outcome in zip(people, outcomes, strict=True) if isinstance(outcome, Device)]
    assert [type(each) for each in outcomes].count(UsernameTaken) == 11
    credentials = await servers[1].accounts.credentials(name)
    assert credentials is not None
    assert [credentials.user.user_id] == [each.user_id for each in winners]
    assert set(await servers[2].accounts.users([each.user_id for each in people])) == {winners[0].user_id}
    assert await found(servers[0], name) == [name]


@pytest.mark.parametrize("loses", ["loses_request", "loses_answer"])
@pytest.mark.parametrize("step", [claims, changes, lambda cql: "unfinished = null" in cql])
async def test_whatever_is_lost_in_a_sign_up_the_name_is_usable_or_the_account_whole(
    one: Server, other: Server, loses: str, step: Callable[[str], bool]
) -> None:
    user = somebody()
    setattr(one.cassandra, loses, step)
    try:
        device = await sign_up(one, user)
    except Refusal as refusal:
        assert refusal.code is Code.UNAVAILABLE
        credentials = await other.accounts.credentials(user.username)
        if credentials is None:
            await sign_up(other, user)
            credentials = await other.accounts.credentials(user.username)
    else:
        assert await other.accounts.rotate_refresh_token(token_of(device), b"next", NOW) is not None
        credentials = await other.accounts.credentials(user.username)
    assert one.cassandra.lost.is_set()
    assert credentials is not None
    assert (credentials.user, credentials.password_hash) == (user, "hash")
    assert await other.accounts.users([user.user_id]) == {user.user_id: user}
    assert await found(other, user.username) == [user.username]


async def test_an_account_left_unfinished_is_whole_once_its_owner_signs_in(one: Server, other: Server) -> None:
    user = somebody()
    # All attempts, as for a process that ends there.
    one.cassandra.loses_request = changes
    work = asyncio.get_running_loop().create_task(sign_up(one, user))
    await one.cassandra.lost.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await other.accounts.users([user.user_id]) == {}
    with pytest.raises(UsernameTaken):
        await sign_up(other, somebody(user.username))
    credentials = await other.accounts.credentials(user.username)
    assert credentials is not None
    assert (credentials.user, credentials.password_hash) == (user, "hash")
    assert await other.accounts.devices(user.user_id) == []
    kept = await other.accounts.sign_in_device(device_of(user), b"signed in", 10)
    assert await other.accounts.devices(user.user_id) == [kept]
    assert await found(one, user.username) == [user.username]


async def test_finishing_late_does_not_bring_the_old_password_back(one: Server, other: Server) -> None:
    user = somebody()
    # The account has been made, the name's row does not know.
    one.cassandra.loses_request = lambda cql: "unfinished = null" in cql
    device = await sign_up(one, user)
    assert await other.accounts.set_password(user.user_id, "hash", "new hash", device.device_id) == {}
    await other.accounts.update_profile(user.user_id, "renamed", None)
    credentials = await one.accounts.credentials(user.username)
    assert credentials is not None
    assert (credentials.user.display_name, credentials.password_hash) == ("renamed", "new hash")


# --- devices ----------------------------------------------------------------------------------------------------------


async def test_simultaneous_sign_ins_on_several_servers_leave_ten_devices(servers: Sequence[Server]) -> None:
    user = somebody()
    await sign_up(servers[0], user)
    for _ in range(6):
        device = device_of(user)
        await servers[0].accounts.sign_in_device(device, token_of(device), 10)
    asked = [device_of(user) for _ in range(9)]
    outcomes = await asyncio.gather(
        *(servers[number % 3].accounts.sign_in_device(each, token_of(each), 10) for number, each in enumerate(asked)),
        return_exceptions=True,
    )
    signed_in = [each for each in outcomes if isinstance(each, Device)]
    assert len(signed_in) == 3
    assert [type(each) for each in outcomes].count(TooManyDevices) == 6
    kept = await servers[1].accounts.devices(user.user_id)
    assert len(kept) == 10
    assert {each.device_id for each in signed_in} <= {each.device_id for each in kept}


@pytest.mark.parametrize("loses", ["loses_request", "loses_answer"])
async def test_a_sign_in_whose_answer_was_lost_takes_one_place(one: Server, other: Server, loses: str) -> None:
    user = somebody()
    await sign_up(one, user)
    setattr(one.cassandra, loses, changes)
    kept = await one.accounts.sign_in_device(Device("", user.user_id, "", Platform.IOS, NOW, NOW), b"in", 2)
    assert one.cassandra.lost.is_set()
    assert kept in await other.accounts.devices(user.user_id)
    assert len(await other.accounts.devices(user.user_id)) == 2
    assert await other.accounts.rotate_refresh_token(kept.device_id.encode(), b"x", NOW) is None


# --- refresh tokens ---------------------------------------------------------------------------------------------------


async def test_of_simultaneous_uses_of_one_token_on_several_servers_one_succeeds(servers: Sequence[Server]) -> None:
    for _ in range(5):
        user = somebody()
        device = await sign_up(servers[0], user)
        outcomes = await asyncio.gather(
            *(
                each.accounts.rotate_refresh_token(token_of(device), token_of(device_of(user)), NOW)
                for each in servers[:2]
            ),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in outcomes) == ["Device", "RefreshTokenReused"]
        assert await servers[2].accounts.devices(user.user_id) == []
        assert (await servers[2].accounts.revoked(60))[device.device_id] == 2


@pytest.mark.parametrize("loses", ["loses_request", "loses_answer"])
async def test_a_rotation_whose_answer_was_lost_is_done_once(one: Server, other: Server, loses: str) -> None:
    user = somebody()
    device = await sign_up(one, user)
    setattr(one.cassandra, loses, changes)
    second, third = token_of(device_of(user)), token_of(device_of(user))
    assert await one.accounts.rotate_refresh_token(token_of(device), second, NOW) == device
    assert one.cassandra.lost.is_set()
    assert await other.accounts.rotate_refresh_token(second, third, NOW) == device
    with pytest.raises(RefreshTokenReused):
        await other.accounts.rotate_refresh_token(token_of(device), b"thief", NOW)


async def test_a_token_whose_rotation_did_not_happen_works_on(one: Server, other: Server) -> None:
    user = somebody()
    device = await sign_up(one, user)
    # The new token is kept first; the device never gets to it.
    one.cassandra.loses_request = changes
    work = asyncio.get_running_loop().create_task(
        one.accounts.rotate_refresh_token(token_of(device), token_of(device) + b" 2", NOW)
    )
    await one.cassandra.lost.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await other.accounts.rotate_refresh_token(token_of(device), token_of(device) + b" 3", NOW) == device


async def test_a_revocation_is_known_before_the_device_is_signed_out(one: Server, other: Server) -> None:
    user = somebody()
    device = await sign_up(one, user)
    one.cassandra.loses_request = changes
    work = asyncio.get_running_loop().create_task(one.accounts.revoke_device(user.user_id, device.device_id))
    await one.cassandra.lost.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await other.accounts.devices(user.user_id) == [device]
    assert (await other.accounts.revoked(60))[device.device_id] == 1
    # It was not signed out in the end, and goes on with its next token.
    refreshed = await other.accounts.rotate_refresh_token(token_of(device), b"2 of " + token_of(device), NOW)
    assert refreshed is not None
    assert refreshed.epoch == 2


async def test_spent_tokens_and_revocations_expire(one: Server) -> None:
    user = somebody()
    device = await sign_up(one, user)
    await one.accounts.rotate_refresh_token(token_of(device), b"2 of " + token_of(device), NOW)
    await one.accounts.revoke_device(user.user_id, device.device_id)
    spent = Statement("SELECT ttl(user_id) FROM refresh_tokens WHERE token_hash = ?", fetch_size=10)
    ((seconds,),) = await one.cassandra.execute(spent, (token_of(device),))
    assert 30 * 24 * 3600 < seconds <= 31 * 24 * 3600
    revoked = Statement("SELECT count(*) FROM revocations WHERE device_id = ? ALLOW FILTERING")
    assert await one.cassandra.execute(revoked, (device.device_id,)) == [(1,)]
    brief = CassandraAccountStore(one.cassandra, one.clock, revocations_kept_s=1)
    again = await brief.sign_in_device(device, b"again " + token_of(device), 10)
    await brief.revoke_device(user.user_id, again.device_id)
    async with asyncio.timeout(30):
        while (await one.accounts.revoked(60)).get(device.device_id) == 3:
            pass


async def test_a_push_token_told_after_the_sign_out_is_not_kept(one: Server, other: Server) -> None:
    user = somebody()
    device = await sign_up(one, user)
    token = PushToken(device.device_id, user.user_id, PushProvider.LOG, "late")
    await one.accounts.revoke_device(user.user_id, device.device_id)
    await other.push_tokens.set(token)
    assert await other.push_tokens.of_device(device.device_id) is None
    await one.accounts.sign_in_device(device, b"back " + token_of(device), 10)
    assert list(await other.push_tokens.of_users([user.user_id])) == []
    await other.push_tokens.set(token)
    assert await one.push_tokens.of_device(device.device_id) == token


# --- search -----------------------------------------------------------------------------------------------------------


async def test_search_goes_through_all_partitions_of_a_short_prefix_in_order(one: Server) -> None:
    # A first letter that no other test's people have.
    names = ["q.z", "q0a", "qa1", "qzz", "0nine", "zed", "r-d", "m_m"]
    for name in names:
        await sign_up(one, somebody(name, "Q" + name[::-1]))
    expected = sorted(names)
    assert await found(one, "q") == expected
    paged: list[str] = []
    while page := await found(one, "q", after=paged[-1] if paged else "", limit=3):
        paged += page
    assert paged == expected
    assert await found(one, "qd") == ["r-d", "zed"]


async def test_search_by_more_than_what_the_rows_have(one: Server) -> None:
    stem = new_user_id()
    for name, display_name in ((f"{stem}.a", ""), (f"{stem}.b", f"{stem}.A and so on"), (f"{stem}.c", "x")):
        await sign_up(one, somebody(name, display_name))
    assert await found(one, stem) == [f"{stem}.a", f"{stem}.b", f"{stem}.c"]
    assert await found(one, f"{stem}.a") == [f"{stem}.a", f"{stem}.b"]
    assert await found(one, f"{stem}.", after="x" * 100_000) == []


async def test_a_search_looks_further_when_some_of_those_found_are_left_out(one: Server) -> None:
    asker = somebody()
    await sign_up(one, asker)
    people = sorted((somebody(display_name="Xerxes") for _ in range(40)), key=lambda each: each.username)
    await asyncio.gather(*(sign_up(one, each) for each in people))
    for each in people[:35]:
        await one.contacts.block(each.user_id, asker.user_id, NOW)
    assert await one.accounts.search("xerx", "", 4, asker.user_id) == people[35:39]


async def test_somebody_renamed_is_found_by_the_new_name_only(servers: Sequence[Server]) -> None:
    one, other, third = servers
    user = somebody(display_name="Before Times")
    await sign_up(one, user)
    await other.accounts.update_profile(user.user_id, "After All", None)
    assert await found(third, "before tim") == []
    assert await found(third, "after a") == [user.username]
    await one.accounts.update_profile(user.user_id, "Before Times", None)
    assert await found(other, "before tim") == [user.username]
    assert await found(other, user.username[:8]) == [user.username]


async def test_of_simultaneous_new_names_the_one_kept_is_found(servers: Sequence[Server]) -> None:
    user = somebody()
    await sign_up(servers[0], user)
    names = [f"{'abcdef'[number] * 9} {user.user_id}" for number in range(6)]
    await asyncio.gather(
        *(servers[number % 3].accounts.update_profile(user.user_id, name, None) for number, name in enumerate(names))
    )
    fresh = Server(servers[0].cassandra)
    kept = (await fresh.accounts.users([user.user_id]))[user.user_id].display_name
    assert [name for name in names if await found(fresh, name[:9])] == [kept]


async def test_a_user_changed_elsewhere_shows_after_two_seconds(one: Server, other: Server) -> None:
    user = somebody()
    await sign_up(one, user)
    assert await one.accounts.users([user.user_id]) == {user.user_id: user}
    changed = await other.accounts.update_profile(user.user_id, "renamed", "")
    assert await other.accounts.users([user.user_id]) == {user.user_id: changed}
    one.clock.advance(2)
    assert await one.accounts.users([user.user_id]) == {user.user_id: changed}


async def test_what_cannot_be_an_id_is_nobodys(one: Server) -> None:
    for odd in ("", "x" * 100_000):
        assert await one.accounts.users([odd]) == {}
        assert not await one.accounts.revoke_device("u-nobody", odd)
        assert await one.push_tokens.of_device(odd) is None
        await one.contacts.remove("u-nobody", odd)
        await one.contacts.unblock("u-nobody", odd)
        assert set(await one.contacts.related("u-nobody", [odd])) == set()
        assert set(await one.contacts.blocked_either_way("u-nobody", [odd])) == set()


# --- contacts ---------------------------------------------------------------------------------------------------------


async def test_a_block_shows_on_another_server_at_once_or_after_the_age_allowed(one: Server, other: Server) -> None:
    ada, bob = new_user_id(), new_user_id()
    aged = CassandraContactStore(other.cassandra, other.accounts, other.clock, blocks_age_s=2.0)
    assert set(await aged.blocked_either_way(ada, [bob])) == set()
    await one.contacts.block(bob, ada, NOW)
    assert set(await other.contacts.blocked_either_way(ada, [bob])) == {bob}
    assert set(await aged.blocked_either_way(ada, [bob])) == set()
    other.clock.advance(2)
    assert set(await aged.blocked_either_way(ada, [bob])) == {bob}
    # What it changes itself shows at once.
    await aged.unblock(bob, ada)
    assert set(await aged.blocked_either_way(ada, [bob])) == set()


async def test_a_server_whose_clock_is_behind_has_the_last_word_when_it_comes_last(one: Server, other: Server) -> None:
    ada, bob = new_user_id(), new_user_id()
    one.clock.advance(60)
    await one.contacts.block(ada, bob, one.clock.now_ms())
    await other.contacts.unblock(ada, bob)
    assert set(await one.contacts.blocked_either_way(bob, [ada])) == set()
    await one.contacts.add(ada, bob, one.clock.now_ms())
    await other.contacts.remove(ada, bob)
    assert await other.contacts.add(ada, bob, other.clock.now_ms()) == other.clock.now_ms()
    assert set(await one.contacts.watchers(bob)) == {ada}


async def test_both_sides_agree_whatever_was_done_at_the_same_time(servers: Sequence[Server]) -> None:
    for _ in range(10):
        ada, bob = somebody(), somebody()
        await sign_up(servers[0], ada)
        await sign_up(servers[0], bob)
        await asyncio.gather(
            servers[0].contacts.add(ada.user_id, bob.user_id, NOW),
            servers[1].contacts.remove(ada.user_id, bob.user_id),
            servers[2].contacts.add(ada.user_id, bob.user_id, NOW + 1),
        )
        mine = {each.user.user_id for each in await servers[0].contacts.contacts(ada.user_id)}
        theirs = set(await servers[1].contacts.watchers(bob.user_id))
        assert (mine, theirs) in (({bob.user_id}, {ada.user_id}), (set(), set()))


async def test_one_with_very_many_blocks_is_asked_about_by_name(one: Server) -> None:
    pest = new_user_id()
    blockers = [new_user_id() for _ in range(1_001)]
    await asyncio.gather(*(one.contacts.block(each, pest, NOW) for each in blockers))
    asked = [*blockers[::2], new_user_id()]
    assert set(await one.contacts.blocked_either_way(pest, asked)) == set(blockers[::2])


async def test_related_by_groups_whichever_way_is_shorter(one: Server) -> None:
    enter = [
        Statement(f"INSERT INTO {table} (channel_id, user_id, since_seq, until_seq) VALUES (?, ?, 1, ?)")
        for table in ("memberships", "memberships_of_user")
    ]

    async def join(user_id: str, channel_id: str, until_seq: int = 0) -> None:
        for statement in enter:
            await one.cassandra.execute(statement, (channel_id, user_id, until_seq))

    me, friend, former, stranger, *crowd = (new_user_id() for _ in range(12))
    for number in range(4):
        group = f"g{me}{number}"
        await join(me, group)
        await join(friend, group)
        await join(former, group, 9)
    for others in ([friend, former, stranger], [friend, former, stranger, *crowd]):
        assert set(await one.contacts.related(me, others)) == {friend}
    assert set(await one.contacts.related(me, [former, stranger, *crowd])) == set()
