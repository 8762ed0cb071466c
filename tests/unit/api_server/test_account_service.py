"""`AccountService` and `ContactService` on loopback: what the messages carry, who the caller is, how a no arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from api_server.account_service import AccountService, ContactService
from api_server.throttle import AccountLimits
from tests.support.accounts import LIMITS, PASSWORD, TOKEN_MS, World, open_world
from tidings.core.rate import Rate
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.v1 import account_pb2, account_pb2_grpc, contact_pb2, contact_pb2_grpc


class Client:
    def __init__(self, endpoint: str, channel: aio.Channel) -> None:
        self.endpoint = endpoint
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.contacts = contact_pb2_grpc.ContactServiceStub(channel)

    async def sign_up(self, username: str = "ada", **fields: Any) -> account_pb2.SignUpResponse:
        return await self.accounts.SignUp(account_pb2.SignUpRequest(username=username, password=PASSWORD, **fields))

    async def log_in(self, password: str = PASSWORD, **fields: Any) -> account_pb2.LogInResponse:
        return await self.accounts.LogIn(account_pb2.LogInRequest(username="Ada", password=password, **fields))


@asynccontextmanager
async def serving(world: World, limits: AccountLimits | None = None) -> AsyncIterator[Client]:
    server = aio.server(interceptors=(CallInterceptor(world.verifier, LiveCalls()),))
    account_pb2_grpc.add_AccountServiceServicer_to_server(AccountService(world.accounts(limits)), server)
    contact_pb2_grpc.add_ContactServiceServicer_to_server(ContactService(world.contacts()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with connected(f"127.0.0.1:{port}") as client:
        yield client
    await server.stop(None)


@asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[Client]:
    async with aio.insecure_channel(endpoint, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        yield Client(endpoint, channel)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    async with serving(world) as opened:
        yield opened


def bearer(tokens: account_pb2.Tokens) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {tokens.access_token}"),)


async def no(call: Awaitable[Any]) -> tuple[grpc.StatusCode, dict[str, Any]]:
    """The status of a refused call, and its details by name."""
    with pytest.raises(aio.AioRpcError) as refused:
        await call
    trailing = dict(refused.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    details: dict[str, Any] = {}
    for each in status.details:
        kind = each.TypeName().rpartition(".")[2]
        details[kind] = getattr(error_details_pb2, kind).FromString(each.value)
    return refused.value.code(), details


async def test_an_account_from_sign_up_to_log_out(world: World, client: Client) -> None:
    made = await client.sign_up(
        display_name="Ada Lovelace", device_name="laptop", platform=account_pb2.PLATFORM_DESKTOP
    )
    now = world.clock.now_ms()
    assert (made.user.username, made.user.display_name) == ("ada", "Ada Lovelace")
    assert made.user.created_at.ToMilliseconds() == now
    assert made.tokens.expires_at.ToMilliseconds() == now + TOKEN_MS
    (server,) = made.servers
    assert (server.server_id, server.endpoint, server.region, server.load) == ("chat-1", "127.0.0.1:7500", "here", 0.5)
    me = bearer(made.tokens)

    world.clock.advance(1)
    second = await client.log_in(device_name="phone", platform=account_pb2.PLATFORM_IOS)
    assert second.user == made.user
    assert list(second.servers) == [server]
    listed = await client.accounts.ListDevices(account_pb2.ListDevicesRequest(), metadata=me)
    assert [(each.device_id, each.device_name, each.platform, each.current) for each in listed.devices] == [
        (made.device_id, "laptop", account_pb2.PLATFORM_DESKTOP, True),
        (second.device_id, "phone", account_pb2.PLATFORM_IOS, False),
    ]
    assert listed.devices[1].created_at.ToMilliseconds() == now + 1000
    assert listed.devices[1].last_active_at.ToMilliseconds() == now + 1000

    refreshed = await client.accounts.RefreshTokens(
        account_pb2.RefreshTokensRequest(refresh_token=second.tokens.refresh_token)
    )
    await client.accounts.RevokeDevice(account_pb2.RevokeDeviceRequest(device_id=second.device_id), metadata=me)
    revoked = client.accounts.ListDevices(account_pb2.ListDevicesRequest(), metadata=bearer(refreshed.tokens))
    code, details = await no(revoked)
    assert (code, details["ErrorInfo"].reason) == (grpc.StatusCode.UNAUTHENTICATED, "DEVICE_REVOKED")

    changed = await client.accounts.ChangePassword(
        account_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another password"), metadata=me
    )
    me = bearer(changed.tokens)
    await client.log_in("another password", device_id=made.device_id)
    await client.accounts.LogOut(account_pb2.LogOutRequest(), metadata=me)
    assert world.sessions.ended == [second.device_id, made.device_id]
    code, details = await no(client.accounts.LogOut(account_pb2.LogOutRequest(), metadata=me))
    assert (code, details["ErrorInfo"].reason) == (grpc.StatusCode.UNAUTHENTICATED, "DEVICE_REVOKED")


async def test_profiles_and_search(client: Client) -> None:
    made = await client.sign_up()
    await client.sign_up("adam")
    me = bearer(made.tokens)
    update = account_pb2.UpdateProfileRequest(about="counts")
    changed = await client.accounts.UpdateProfile(update, metadata=me)
    assert (changed.user.display_name, changed.user.about) == ("ada", "counts")
    got = await client.accounts.GetUser(account_pb2.GetUserRequest(user_id=made.user.user_id), metadata=me)
    assert got.user == changed.user
    empty = await client.accounts.UpdateProfile(account_pb2.UpdateProfileRequest(about=""), metadata=me)
    assert empty.user.about == ""
    code, details = await no(
        client.accounts.UpdateProfile(account_pb2.UpdateProfileRequest(display_name=""), metadata=me)
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in details["BadRequest"].field_violations] == ["display_name"]
    first = await client.accounts.SearchUsers(account_pb2.SearchUsersRequest(prefix="AD", page_size=1), metadata=me)
    assert [each.username for each in first.users] == ["ada"]
    request = account_pb2.SearchUsersRequest(prefix="AD", page_size=1, page_token=first.next_page_token)
    second = await client.accounts.SearchUsers(request, metadata=me)
    assert ([each.username for each in second.users], second.next_page_token) == (["adam"], "")


async def test_contacts_and_blocks(world: World, client: Client) -> None:
    ada = await client.sign_up()
    bob = await client.sign_up("bob")
    me, bob_id = bearer(ada.tokens), bob.user.user_id
    added = await client.contacts.AddContact(contact_pb2.AddContactRequest(user_id=bob_id), metadata=me)
    assert added.contact.user == bob.user
    assert added.contact.added_at.ToMilliseconds() == world.clock.now_ms()
    await client.contacts.BlockUser(contact_pb2.BlockUserRequest(user_id=bob_id), metadata=me)
    listed = await client.contacts.ListContacts(contact_pb2.ListContactsRequest(), metadata=me)
    assert (list(listed.contacts), list(listed.blocked_users)) == ([added.contact], [bob.user])
    await client.contacts.UnblockUser(contact_pb2.UnblockUserRequest(user_id=bob_id), metadata=me)
    await client.contacts.RemoveContact(contact_pb2.RemoveContactRequest(user_id=bob_id), metadata=me)
    listed = await client.contacts.ListContacts(contact_pb2.ListContactsRequest(), metadata=me)
    assert listed == contact_pb2.ListContactsResponse()


async def test_only_signing_in_is_open(client: Client) -> None:
    # The generated stub knows its methods: every one but those that are open is called without a token.
    for stub, module in ((client.accounts, account_pb2), (client.contacts, contact_pb2)):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            if method.name in ("SignUp", "LogIn", "RefreshTokens"):
                continue
            code, details = await no(getattr(stub, method.name)(getattr(module, method.input_type.name)()))
            assert (code, details["ErrorInfo"].reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_a_platform_that_is_none_is_refused(client: Client) -> None:
    code, details = await no(client.sign_up(platform=99))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in details["BadRequest"].field_violations] == ["platform"]


async def test_a_throttled_log_in_says_when_to_try_again(world: World) -> None:
    once = Rate(per_second=0.1, burst=1)
    async with serving(world, replace(LIMITS, failures_per_address=once)) as client:
        await client.sign_up()
        code, _ = await no(client.log_in("wrong password"))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        # From another port of the same address.
        async with connected(client.endpoint) as another:
            code, details = await no(another.log_in())
        assert (code, details["ErrorInfo"].reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert details["RetryInfo"].retry_delay.ToMilliseconds() == pytest.approx(10_000, abs=1)
