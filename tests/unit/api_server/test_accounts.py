"""The rules of accounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from api_server.account_values import DeviceToSignIn
from api_server.accounts import Accounts
from api_server.passwords import PasswordCost, Passwords
from tests.support.accounts import CHEAP, LIMITS, PASSWORD, SERVERS, TOKEN_MS, World, log_in, open_world, sign_up
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.core.errors import Code, Refusal
from tidings.core.rate import Rate
from tidings.core.reasons import Reason
from tidings.core.values import Device, Identity, Platform
from tidings.rpc.status import to_status

DEVICE = DeviceToSignIn("laptop", Platform.DESKTOP)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def accounts(world: World) -> Accounts:
    return world.accounts()


async def refusal(call: Awaitable[Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await call
    return refused.value


async def fault(call: Awaitable[Any]) -> tuple[str, dict[str, str]]:
    """The field that a call is refused for, and the limit and value named."""
    refused = await refusal(call)
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.reason == "INVALID_FIELD"
    (violation,) = refused.violations
    return violation.field, dict(refused.metadata)


def what(refused: Refusal) -> tuple[Code, str]:
    return refused.code, refused.reason


# --- signing up -------------------------------------------------------------------------------------------------------


async def test_signing_up_signs_the_device_in(world: World, accounts: Accounts) -> None:
    signed_in = await accounts.sign_up("Ada.L_1-x", PASSWORD, "Ada Lovelace", DEVICE, "ipv4:1")
    assert signed_in.user.username == "ada.l_1-x"
    assert signed_in.user.display_name == "Ada Lovelace"
    assert signed_in.user.created_at_ms == world.clock.now_ms()
    assert list(signed_in.servers) == list(SERVERS)
    identity = world.identity(signed_in)
    good_until = world.clock.monotonic() + TOKEN_MS / 1000
    assert identity == Identity(signed_in.user.user_id, signed_in.device_id, good_until, epoch=1)
    assert signed_in.tokens.expires_at_ms == world.clock.now_ms() + TOKEN_MS
    (device,) = await accounts.devices(identity)
    now = world.clock.now_ms()
    assert device == Device(signed_in.device_id, identity.user_id, "laptop", Platform.DESKTOP, now, now)
    assert await accounts.user(identity.user_id) == signed_in.user


async def test_the_display_name_is_the_folded_username_when_empty(accounts: Accounts) -> None:
    assert (await sign_up(accounts, "ADA")).user.display_name == "ada"


@pytest.mark.parametrize("username", ["abc", "a" * 32, "0.a", "a..", "A-B_c"])
async def test_usernames_that_are_allowed(accounts: Accounts, username: str) -> None:
    assert (await sign_up(accounts, username)).user.username == username.lower()


@pytest.mark.parametrize(
    ("username", "limits"),
    [
        ("", {"limit": "3", "actual": "0"}),
        ("ab", {"limit": "3", "actual": "2"}),
        ("a" * 33, {"limit": "32", "actual": "33"}),
        (".abc", {}),
        ("-abc", {}),
        ("_abc", {}),
        ("a b", {}),
        ("abc\n", {}),
        ("a\0b", {}),
        ("ada@x", {}),
        ("ädä", {}),
        # The Kelvin sign: its lower case is the letter k.
        ("mar\u212a", {}),
    ],
)
async def test_usernames_that_are_refused(accounts: Accounts, username: str, limits: dict[str, str]) -> None:
    assert await fault(sign_up(accounts, username)) == ("username", limits)


async def test_bounds_of_the_other_fields(accounts: Accounts) -> None:
    def asked(password: str = PASSWORD, display_name: str = "", device_name: str = "") -> Awaitable[Any]:
        return accounts.sign_up("ada", password, display_name, DeviceToSignIn(device_name, Platform.WEB), "ipv4:1")

    assert await fault(asked(password="")) == ("password", {"limit": "8", "actual": "0"})
    assert await fault(asked(password="1234567")) == ("password", {"limit": "8", "actual": "7"})
    assert await fault(asked(password="x" * 129)) == ("password", {"limit": "128", "actual": "129"})
    assert await fault(asked(display_name="x" * 65)) == ("display_name", {"limit": "64", "actual": "65"})
    assert await fault(asked(device_name="x" * 65)) == ("device_name", {"limit": "64", "actual": "65"})
    await asked("\N{GRINNING FACE}" * 128, "\N{GRINNING FACE}" * 64, "x" * 64)


async def test_a_taken_username_is_refused_whatever_its_case(accounts: Accounts) -> None:
    await sign_up(accounts, "ada")
    refused = await refusal(sign_up(accounts, "ADA"))
    assert what(refused) == (Code.ALREADY_EXISTS, "USERNAME_TAKEN")
    assert [each.field for each in refused.violations] == ["username"]


async def test_of_simultaneous_sign_ups_with_one_name_one_succeeds(accounts: Accounts) -> None:
    outcomes = await asyncio.gather(*(sign_up(accounts) for _ in range(5)), return_exceptions=True)
    refused = [what(each) for each in outcomes if isinstance(each, Refusal)]
    assert refused == 4 * [(Code.ALREADY_EXISTS, "USERNAME_TAKEN")]


async def test_sign_ups_are_limited_by_address(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, sign_ups=Rate(per_second=0.5, burst=2)))
    await sign_up(accounts, "ada")
    await sign_up(accounts, "bob")
    refused = await refusal(sign_up(accounts, "carl"))
    assert what(refused) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refused.retry_after == 2.0
    await sign_up(accounts, "dora", address="ipv4:2")
    world.clock.advance(2)
    await sign_up(accounts, "carl")


# --- logging in -------------------------------------------------------------------------------------------------------


async def test_logging_in_makes_a_new_device(world: World, accounts: Accounts) -> None:
    first = await sign_up(accounts)
    world.clock.advance(1)
    second = await log_in(accounts, "ADA")
    assert second.user == first.user
    assert list(second.servers) == list(SERVERS)
    devices = await accounts.devices(world.identity(second))
    assert [(each.device_id, each.device_name, each.platform) for each in devices] == [
        (first.device_id, "laptop", Platform.DESKTOP),
        (second.device_id, "phone", Platform.IOS),
    ]


async def test_logging_in_with_a_known_device_keeps_it(world: World, accounts: Accounts) -> None:
    first = await sign_up(accounts)
    again = await log_in(accounts, device_id=first.device_id)
    assert again.device_id == first.device_id
    assert what(await refusal(accounts.refresh_tokens(first.tokens.refresh_token)))[1] == "REFRESH_TOKEN_INVALID"
    assert [each.device_id for each in await accounts.devices(world.identity(again))] == [first.device_id]


async def test_somebody_elses_device_is_not_taken_over(world: World, accounts: Accounts) -> None:
    ada = await sign_up(accounts)
    await sign_up(accounts, "bob")
    bob = await log_in(accounts, "bob", device_id=ada.device_id)
    assert bob.device_id != ada.device_id
    assert world.identity(bob).user_id == bob.user.user_id
    assert [each.device_id for each in await accounts.devices(world.identity(ada))] == [ada.device_id]


@pytest.mark.parametrize("name", ["ada", "nobody", "no such name", "ADÄ", "x"])
async def test_wrong_names_and_wrong_passwords_are_one_refusal(accounts: Accounts, name: str) -> None:
    await sign_up(accounts)
    refused = await refusal(log_in(accounts, name, "wrong password"))
    assert what(refused) == (Code.UNAUTHENTICATED, "WRONG_CREDENTIALS")
    assert refused.message == "wrong username or password"
    assert not refused.violations


async def test_the_bounds_of_a_log_in(accounts: Accounts) -> None:
    assert (await fault(log_in(accounts, "")))[0] == "username"
    assert (await fault(log_in(accounts, "x" * 33)))[0] == "username"
    assert (await fault(log_in(accounts, password="")))[0] == "password"
    assert (await fault(log_in(accounts, password="x" * 129)))[0] == "password"
    device = DeviceToSignIn("x" * 65, Platform.WEB)
    assert (await fault(accounts.log_in("ada", PASSWORD, device, "ipv4:1")))[0] == "device_name"


async def test_a_user_has_ten_devices(world: World, accounts: Accounts) -> None:
    first = await sign_up(accounts)
    others = [await log_in(accounts) for _ in range(9)]
    refused = await refusal(log_in(accounts))
    assert what(refused) == (Code.FAILED_PRECONDITION, "TOO_MANY_DEVICES")
    assert refused.metadata == {"limit": "10"}
    # One that is known is no new one, and one signed out makes room.
    await log_in(accounts, device_id=others[0].device_id)
    await accounts.revoke_device(world.identity(first), others[0].device_id)
    await log_in(accounts)
    assert what(await refusal(log_in(accounts, device_id=others[0].device_id)))[1] == "TOO_MANY_DEVICES"


async def test_failures_throttle_the_account(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, failures_per_account=Rate(per_second=0.1, burst=3)))
    await sign_up(accounts)
    for number in range(3):
        refused = await refusal(log_in(accounts, "AdA", "wrong password", address=f"ipv4:{number}"))
        assert refused.code is Code.UNAUTHENTICATED
    refused = await refusal(log_in(accounts, address="ipv4:9"))
    assert what(refused) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refused.retry_after == pytest.approx(10)
    retry = next(each for each in to_status(refused).details if each.Is(error_details_pb2.RetryInfo.DESCRIPTOR))
    info = error_details_pb2.RetryInfo()
    retry.Unpack(info)
    assert info.retry_delay.ToSeconds() == pytest.approx(10, abs=1)
    world.clock.advance(10)
    await log_in(accounts, address="ipv4:9")


async def test_an_account_that_does_not_exist_is_throttled_alike(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, failures_per_account=Rate(per_second=0.1, burst=3)))
    for _ in range(3):
        assert (await refusal(log_in(accounts, "nobody"))).code is Code.UNAUTHENTICATED
    assert (await refusal(log_in(accounts, "nobody"))).code is Code.RESOURCE_EXHAUSTED


async def test_failures_throttle_the_address(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, failures_per_address=Rate(per_second=0.1, burst=3)))
    await sign_up(accounts)
    for number in range(3):
        assert (await refusal(log_in(accounts, f"name-{number}"))).code is Code.UNAUTHENTICATED
    assert (await refusal(log_in(accounts))).code is Code.RESOURCE_EXHAUSTED
    await log_in(accounts, address="ipv4:2")


async def test_log_ins_that_succeed_are_not_throttled(world: World) -> None:
    once = Rate(per_second=0.1, burst=1)
    accounts = world.accounts(replace(LIMITS, failures_per_account=once, failures_per_address=once))
    await sign_up(accounts)
    for _ in range(5):
        await log_in(accounts)


async def test_guesses_made_at_once_get_no_more_answers_than_the_rate_allows(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, failures_per_account=Rate(per_second=0.1, burst=3)))
    await sign_up(accounts)
    outcomes = await asyncio.gather(
        *(refusal(log_in(accounts, password="wrong password")) for _ in range(10)),
    )
    assert [each.code for each in outcomes].count(Code.UNAUTHENTICATED) == 3
    assert [each.code for each in outcomes].count(Code.RESOURCE_EXHAUSTED) == 7


async def test_a_hash_at_another_cost_is_made_anew_on_logging_in(world: World, accounts: Accounts) -> None:
    signed_in = await sign_up(accounts)
    before = await world.store.password_hash(signed_in.user.user_id)
    await log_in(accounts)
    assert await world.store.password_hash(signed_in.user.user_id) == before
    costlier = Passwords(PasswordCost(memory_kib=16, iterations=2))
    await log_in(world.accounts(passwords=costlier))
    after = await world.store.password_hash(signed_in.user.user_id)
    assert after is not None
    assert not costlier.is_outdated(after)
    await log_in(world.accounts(passwords=costlier))
    assert await world.store.password_hash(signed_in.user.user_id) == after
    assert len(await accounts.devices(world.identity(signed_in))) == 4
    await costlier.close()


class ChangedJustBefore(SqliteAccountStore):
    """Another device changes the password after this one's was checked, and before it is signed in."""

    new_hash = ""

    async def sign_in_device(self, device: Device, refresh_hash: bytes, most: int) -> Device:
        old_hash = await self.password_hash(device.user_id)
        assert old_hash is not None
        await self.set_password(device.user_id, old_hash, self.new_hash, "")
        return await super().sign_in_device(device, refresh_hash, most)


async def test_the_old_password_signs_nobody_in_after_a_change_under_way(world: World) -> None:
    store = ChangedJustBefore(world.store._database)
    accounts = world.accounts(store=store)
    signed_in = await sign_up(accounts)
    store.new_hash = await world.passwords.hash("another password", "")
    assert (await refusal(log_in(accounts))).reason == "WRONG_CREDENTIALS"
    assert await store.devices(signed_in.user.user_id) == []
    assert len(world.sessions.ended) == 1
    # The same password hashed anew is no change.
    store.new_hash = await world.passwords.hash("another password", "")
    await log_in(accounts, password="another password")


async def test_whom_a_busy_server_cannot_check_again_after_a_change_under_way_is_not_signed_in(world: World) -> None:
    class BusyThen(Passwords):
        checks = 0

        async def verify(self, password_hash: str | None, password: str, address: str) -> bool:
            self.checks += 1
            if self.checks == 2:
                raise Refusal(Code.RESOURCE_EXHAUSTED, "busy", reason=Reason.TOO_MANY_SIGN_INS, retry_after=1.0)
            return await super().verify(password_hash, password, address)

    store, passwords = ChangedJustBefore(world.store._database), BusyThen(CHEAP)
    accounts = world.accounts(store=store, passwords=passwords)
    signed_in = await sign_up(accounts)
    store.new_hash = await world.passwords.hash("another password", "")
    assert (await refusal(log_in(accounts))).reason == "TOO_MANY_SIGN_INS"
    assert passwords.checks == 2
    assert await store.devices(signed_in.user.user_id) == []
    assert len(world.sessions.ended) == 1
    await passwords.close()


# --- refresh tokens ---------------------------------------------------------------------------------------------------


async def test_refreshing_gives_new_tokens(world: World, accounts: Accounts) -> None:
    signed_in = await sign_up(accounts)
    world.clock.advance(900)
    with pytest.raises(Refusal):
        world.verifier.verify(signed_in.tokens.access_token)
    tokens = await accounts.refresh_tokens(signed_in.tokens.refresh_token)
    identity = world.verifier.verify(tokens.access_token)
    assert (identity.user_id, identity.device_id) == (signed_in.user.user_id, signed_in.device_id)
    assert tokens.refresh_token != signed_in.tokens.refresh_token
    (device,) = await accounts.devices(identity)
    assert device.last_active_at_ms == world.clock.now_ms()
    await accounts.refresh_tokens(tokens.refresh_token)


async def test_a_refresh_token_used_again_ends_the_sign_in(world: World, accounts: Accounts) -> None:
    signed_in = await sign_up(accounts)
    tokens = await accounts.refresh_tokens(signed_in.tokens.refresh_token)
    refused = await refusal(accounts.refresh_tokens(signed_in.tokens.refresh_token))
    assert what(refused) == (Code.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
    assert world.sessions.ended == [signed_in.device_id]
    # The whole family has ended: the token that was good until now, too, and the access tokens.
    assert (await refusal(accounts.refresh_tokens(tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    with pytest.raises(Refusal) as revoked:
        world.verifier.verify(tokens.access_token)
    assert revoked.value.reason == "DEVICE_REVOKED"


ATTEMPT = "an-attempt-of-this-device"


async def test_an_attempt_whose_answer_was_lost_gets_it_again(world: World, accounts: Accounts) -> None:
    spent = (await sign_up(accounts)).tokens.refresh_token
    lost = await accounts.refresh_tokens(spent, ATTEMPT)
    world.clock.advance(86_400)
    tokens = await accounts.refresh_tokens(spent, ATTEMPT)
    assert tokens.refresh_token == lost.refresh_token
    world.verifier.verify(tokens.access_token)
    assert world.sessions.ended == []
    await accounts.refresh_tokens(tokens.refresh_token, ATTEMPT)
    # Answered: now it is a reuse as any other.
    assert (await refusal(accounts.refresh_tokens(spent, ATTEMPT))).reason == "REFRESH_TOKEN_REUSED"


@pytest.mark.parametrize("thief", ["", f"{ATTEMPT}?"])
async def test_who_does_not_know_the_attempt_reuses(world: World, accounts: Accounts, thief: str) -> None:
    signed_in = await sign_up(accounts)
    tokens = await accounts.refresh_tokens(signed_in.tokens.refresh_token, ATTEMPT)
    refused = await refusal(accounts.refresh_tokens(signed_in.tokens.refresh_token, thief))
    assert what(refused) == (Code.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
    assert world.sessions.ended == [signed_in.device_id]
    assert (await refusal(accounts.refresh_tokens(tokens.refresh_token, ATTEMPT))).reason == "REFRESH_TOKEN_INVALID"


async def test_an_attempt_has_to_be_random_and_no_more_than_that(accounts: Accounts) -> None:
    spent = (await sign_up(accounts)).tokens.refresh_token
    for attempt, limit in (("x" * 21, "22"), ("x" * 129, "128")):
        field, details = await fault(accounts.refresh_tokens(spent, attempt))
        assert (field, details["limit"], details["actual"]) == ("attempt_id", limit, str(len(attempt)))
    await accounts.refresh_tokens(spent, "x" * 22)


async def test_refresh_tokens_that_are_none(accounts: Accounts) -> None:
    assert await fault(accounts.refresh_tokens("")) == ("refresh_token", {})
    refused = await refusal(accounts.refresh_tokens("made up"))
    assert what(refused) == (Code.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")


async def test_refresh_tokens_are_not_stored(world: World, accounts: Accounts, tmp_path: Path) -> None:
    signed_in = await sign_up(accounts)
    kept = await asyncio.to_thread(lambda: b"".join(each.read_bytes() for each in tmp_path.iterdir()))
    assert signed_in.user.user_id.encode() in kept
    assert signed_in.tokens.refresh_token.encode() not in kept
    assert PASSWORD.encode() not in kept


# --- signing out ------------------------------------------------------------------------------------------------------


async def test_logging_out_ends_tokens_and_streams(world: World, accounts: Accounts) -> None:
    signed_in = await sign_up(accounts)
    other = await log_in(accounts)
    await accounts.log_out(world.identity(signed_in))
    assert world.sessions.ended == [signed_in.device_id]
    assert (await refusal(accounts.refresh_tokens(signed_in.tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    with pytest.raises(Refusal) as revoked:
        world.verifier.verify(signed_in.tokens.access_token)
    assert what(revoked.value) == (Code.UNAUTHENTICATED, "DEVICE_REVOKED")
    assert [each.device_id for each in await accounts.devices(world.identity(other))] == [other.device_id]


async def test_a_device_that_logged_out_logs_in_again(world: World, accounts: Accounts) -> None:
    signed_in = await sign_up(accounts)
    await accounts.log_out(world.identity(signed_in))
    world.clock.advance(0.001)
    again = await log_in(accounts, device_id=signed_in.device_id)
    assert world.identity(again).device_id == signed_in.device_id
    with pytest.raises(Refusal):
        world.verifier.verify(signed_in.tokens.access_token)


async def test_revoking_a_device(world: World, accounts: Accounts) -> None:
    first = await sign_up(accounts)
    second = await log_in(accounts)
    await accounts.revoke_device(world.identity(first), second.device_id)
    assert world.sessions.ended == [second.device_id]
    with pytest.raises(Refusal):
        world.identity(second)
    assert [each.device_id for each in await accounts.devices(world.identity(first))] == [first.device_id]


async def test_only_the_own_devices_can_be_revoked(world: World, accounts: Accounts) -> None:
    ada = await sign_up(accounts)
    bob = await sign_up(accounts, "bob")
    for device_id in (bob.device_id, "unknown", ""):
        refused = await refusal(accounts.revoke_device(world.identity(ada), device_id))
        assert what(refused) == (Code.NOT_FOUND, "NOT_FOUND")
        assert [each.field for each in refused.violations] == ["device_id"]
    assert world.sessions.ended == []
    world.identity(bob)


class SlowToRevoke(SqliteAccountStore):
    """Answers some time after it has revoked a device."""

    def __init__(self, store: SqliteAccountStore) -> None:
        super().__init__(store._database)
        self.is_revoked = asyncio.Event()
        self.answer = asyncio.Event()

    async def revoke_device(self, user_id: str, device_id: str) -> int | None:
        revoked = await super().revoke_device(user_id, device_id)
        self.is_revoked.set()
        await self.answer.wait()
        return revoked


async def test_a_caller_who_hangs_up_does_not_leave_a_device_half_signed_out(world: World) -> None:
    store = SlowToRevoke(world.store)
    accounts = world.accounts(store=store)
    signed_in = await sign_up(accounts)
    ended = asyncio.Event()

    async def end_devices(revoked: Mapping[str, int]) -> None:
        assert revoked == {signed_in.device_id: 1}
        ended.set()

    world.sessions.end_devices = end_devices  # type: ignore[method-assign] # Tells when it is called.
    call = asyncio.ensure_future(accounts.log_out(world.identity(signed_in)))
    await store.is_revoked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    store.answer.set()
    async with asyncio.timeout(5):
        await ended.wait()
    with pytest.raises(Refusal):
        world.identity(signed_in)


# --- changing the password --------------------------------------------------------------------------------------------


async def test_changing_the_password_signs_the_others_out(world: World, accounts: Accounts) -> None:
    first = await sign_up(accounts)
    second = await log_in(accounts)
    third = await log_in(accounts)
    tokens = await accounts.change_password(world.identity(second), PASSWORD, "another password", "ipv4:1")
    assert set(world.sessions.ended) == {first.device_id, third.device_id}
    for other in (first, third):
        with pytest.raises(Refusal) as revoked:
            world.identity(other)
        assert revoked.value.reason == "DEVICE_REVOKED"
        assert (await refusal(accounts.refresh_tokens(other.tokens.refresh_token))).code is Code.UNAUTHENTICATED
    identity = world.verifier.verify(tokens.access_token)
    assert [each.device_id for each in await accounts.devices(identity)] == [second.device_id]
    assert (await refusal(accounts.refresh_tokens(second.tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    await accounts.refresh_tokens(tokens.refresh_token)
    assert (await refusal(log_in(accounts))).reason == "WRONG_CREDENTIALS"
    await log_in(accounts, password="another password")


async def test_the_old_password_must_be_right(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts))
    refused = await refusal(accounts.change_password(me, "wrong password", "another password", "ipv4:1"))
    assert what(refused) == (Code.UNAUTHENTICATED, "WRONG_PASSWORD")
    nobody = Identity("u-nobody", "v-nobody", 0)
    refused = await refusal(accounts.change_password(nobody, PASSWORD, "another password", "ipv4:1"))
    assert what(refused) == (Code.UNAUTHENTICATED, "WRONG_PASSWORD")
    await log_in(accounts)


async def test_the_bounds_of_a_change_of_password(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts))
    assert (await fault(accounts.change_password(me, "", "another password", "ipv4:1")))[0] == "old_password"
    assert (await fault(accounts.change_password(me, "x" * 129, "another password", "ipv4:1")))[0] == "old_password"
    assert await fault(accounts.change_password(me, PASSWORD, "1234567", "ipv4:1")) == (
        "new_password",
        {"limit": "8", "actual": "7"},
    )
    assert await fault(accounts.change_password(me, PASSWORD, "x" * 129, "ipv4:1")) == (
        "new_password",
        {"limit": "128", "actual": "129"},
    )


async def test_guesses_at_the_old_password_are_throttled_and_do_not_lock_the_owner_out(world: World) -> None:
    accounts = world.accounts(replace(LIMITS, failures_per_account=Rate(per_second=0.1, burst=3)))
    me = world.identity(await sign_up(accounts))
    for _ in range(3):
        refused = await refusal(accounts.change_password(me, "wrong password", "another password", "ipv4:2"))
        assert refused.reason == "WRONG_PASSWORD"
    refused = await refusal(accounts.change_password(me, PASSWORD, "another password", "ipv4:2"))
    assert what(refused) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refused.retry_after is not None
    await log_in(accounts)


async def test_of_simultaneous_changes_one_succeeds(world: World, accounts: Accounts) -> None:
    first = world.identity(await sign_up(accounts))
    second = world.identity(await log_in(accounts))
    outcomes = await asyncio.gather(
        accounts.change_password(first, PASSWORD, "first's password", "ipv4:1"),
        accounts.change_password(second, PASSWORD, "second's password", "ipv4:1"),
        return_exceptions=True,
    )
    (refused,) = (each for each in outcomes if isinstance(each, Refusal))
    assert what(refused) == (Code.ABORTED, "PASSWORD_CHANGED")
    first_won = outcomes.index(refused) == 1
    await log_in(accounts, password="first's password" if first_won else "second's password")


async def test_a_device_revoked_while_it_changes_the_password_gets_no_tokens(world: World) -> None:
    class RevokedMeanwhile(SqliteAccountStore):
        async def replace_refresh_token(self, device_id: str, new_hash: bytes) -> int | None:
            await self.revoke_device(signed_in.user.user_id, device_id)
            return await super().replace_refresh_token(device_id, new_hash)

    accounts = world.accounts(store=RevokedMeanwhile(world.store._database))
    signed_in = await sign_up(accounts)
    me = world.identity(signed_in)
    refused = await refusal(accounts.change_password(me, PASSWORD, "another password", "ipv4:1"))
    assert what(refused) == (Code.UNAUTHENTICATED, "DEVICE_REVOKED")


# --- profiles and search ----------------------------------------------------------------------------------------------


async def test_a_profile_changes_where_asked(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts, display_name="Ada"))
    changed = await accounts.update_profile(me, None, "x" * 256)
    assert (changed.display_name, changed.about) == ("Ada", "x" * 256)
    changed = await accounts.update_profile(me, "Countess", None)
    assert (changed.display_name, changed.about) == ("Countess", "x" * 256)
    assert (await accounts.update_profile(me, None, "")).about == ""
    assert (await accounts.user(me.user_id)).display_name == "Countess"


async def test_the_bounds_of_a_profile(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts))
    assert await fault(accounts.update_profile(me, "", None)) == ("display_name", {"limit": "1", "actual": "0"})
    assert await fault(accounts.update_profile(me, "x" * 65, None)) == (
        "display_name",
        {"limit": "64", "actual": "65"},
    )
    assert await fault(accounts.update_profile(me, None, "x" * 257)) == ("about", {"limit": "256", "actual": "257"})


async def test_an_unknown_user_is_not_found(accounts: Accounts) -> None:
    for user_id in ("", "u-nobody"):
        refused = await refusal(accounts.user(user_id))
        assert what(refused) == (Code.NOT_FOUND, "NOT_FOUND")
        assert [each.field for each in refused.violations] == ["user_id"]


async def test_search_goes_page_by_page(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts, "zoe", "Ada's sister"))
    for name in ("ada", "adam", "adele", "bob"):
        await sign_up(accounts, name)
    found: list[list[str]] = []
    token = ""
    while token or not found:
        page = await accounts.search(me, "AD", 2, token)
        found.append([each.username for each in page.users])
        token = page.next_page_token
    assert found == [["ada", "adam"], ["adele", "zoe"]]
    assert await accounts.search(me, "nobody", 2, "") == await accounts.search(me, "nobody", 0, "")


async def test_a_page_of_search_is_clamped(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts))
    await asyncio.gather(*(sign_up(accounts, f"bob-{number:03}") for number in range(101)))
    page = await accounts.search(me, "bob", 1_000_000, "")
    assert len(page.users) == 100
    assert len((await accounts.search(me, "bob", 0, "")).users) == 20


async def test_the_bounds_of_a_search(world: World, accounts: Accounts) -> None:
    me = world.identity(await sign_up(accounts))
    assert await fault(accounts.search(me, "", 0, "")) == ("prefix", {"limit": "1", "actual": "0"})
    assert await fault(accounts.search(me, "x" * 65, 0, "")) == ("prefix", {"limit": "64", "actual": "65"})
    assert await fault(accounts.search(me, "x", 0, "no token!")) == ("page_token", {})
