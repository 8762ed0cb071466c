"""`AccountService` and `ContactService`: the gRPC edge of accounts and contacts."""

from __future__ import annotations

from typing import Any

from grpc import aio

from api_server import convert
from api_server.account_values import DeviceToSignIn
from api_server.accounts import Accounts
from api_server.contacts import Contacts
from tidings.rpc.interceptor import caller_address
from tidings.rpc.live_calls import caller
from tidings.v1 import account_pb2, account_pb2_grpc, contact_pb2, contact_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """The gRPC service of accounts.

    Args:
        accounts: The rules.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def SignUp(self, request: account_pb2.SignUpRequest, context: Context) -> account_pb2.SignUpResponse:
        """See account.proto."""
        signed_in = await self._accounts.sign_up(
            request.username,
            request.password,
            request.display_name,
            DeviceToSignIn(request.device_name, convert.platform(request.platform)),
            caller_address(),
        )
        return account_pb2.SignUpResponse(
            user=convert.user(signed_in.user),
            device_id=signed_in.device_id,
            tokens=convert.tokens(signed_in.tokens),
            servers=[convert.server(each) for each in signed_in.servers],
        )

    async def LogIn(self, request: account_pb2.LogInRequest, context: Context) -> account_pb2.LogInResponse:
        """See account.proto."""
        signed_in = await self._accounts.log_in(
            request.username,
            request.password,
            DeviceToSignIn(request.device_name, convert.platform(request.platform), request.device_id),
            caller_address(),
        )
        return account_pb2.LogInResponse(
            user=convert.user(signed_in.user),
            device_id=signed_in.device_id,
            tokens=convert.tokens(signed_in.tokens),
            servers=[convert.server(each) for each in signed_in.servers],
        )

    async def RefreshTokens(
        self, request: account_pb2.RefreshTokensRequest, context: Context
    ) -> account_pb2.RefreshTokensResponse:
        """See account.proto."""
        tokens = await self._accounts.refresh_tokens(request.refresh_token, request.attempt_id)
        return account_pb2.RefreshTokensResponse(tokens=convert.tokens(tokens))

    async def LogOut(self, request: account_pb2.LogOutRequest, context: Context) -> account_pb2.LogOutResponse:
        """See account.proto."""
        await self._accounts.log_out(caller())
        return account_pb2.LogOutResponse()

    async def GetUser(self, request: account_pb2.GetUserRequest, context: Context) -> account_pb2.GetUserResponse:
        """See account.proto."""
        return account_pb2.GetUserResponse(user=convert.user(await self._accounts.user(request.user_id)))

    async def SearchUsers(
        self, request: account_pb2.SearchUsersRequest, context: Context
    ) -> account_pb2.SearchUsersResponse:
        """See account.proto."""
        page = await self._accounts.search(caller(), request.prefix, request.page_size, request.page_token)
        return account_pb2.SearchUsersResponse(
            users=[convert.user(each) for each in page.users], next_page_token=page.next_page_token
        )

    async def UpdateProfile(
        self, request: account_pb2.UpdateProfileRequest, context: Context
    ) -> account_pb2.UpdateProfileResponse:
        """See account.proto."""
        user = await self._accounts.update_profile(
            caller(),
            request.display_name if request.HasField("display_name") else None,
            request.about if request.HasField("about") else None,
        )
        return account_pb2.UpdateProfileResponse(user=convert.user(user))

    async def ChangePassword(
        self, request: account_pb2.ChangePasswordRequest, context: Context
    ) -> account_pb2.ChangePasswordResponse:
        """See account.proto."""
        tokens = await self._accounts.change_password(
            caller(), request.old_password, request.new_password, caller_address()
        )
        return account_pb2.ChangePasswordResponse(tokens=convert.tokens(tokens))

    async def ListDevices(
        self, request: account_pb2.ListDevicesRequest, context: Context
    ) -> account_pb2.ListDevicesResponse:
        """See account.proto."""
        me = caller()
        devices = await self._accounts.devices(me)
        return account_pb2.ListDevicesResponse(devices=[convert.device(each, me.device_id) for each in devices])

    async def RevokeDevice(
        self, request: account_pb2.RevokeDeviceRequest, context: Context
    ) -> account_pb2.RevokeDeviceResponse:
        """See account.proto."""
        await self._accounts.revoke_device(caller(), request.device_id)
        return account_pb2.RevokeDeviceResponse()


class ContactService(contact_pb2_grpc.ContactServiceServicer):
    """The gRPC service of contacts.

    Args:
        contacts: The rules.
    """

    def __init__(self, contacts: Contacts) -> None:
        self._contacts = contacts

    async def AddContact(
        self, request: contact_pb2.AddContactRequest, context: Context
    ) -> contact_pb2.AddContactResponse:
        """See contact.proto."""
        contact = await self._contacts.add(caller().user_id, request.user_id)
        return contact_pb2.AddContactResponse(contact=convert.contact(contact))

    async def RemoveContact(
        self, request: contact_pb2.RemoveContactRequest, context: Context
    ) -> contact_pb2.RemoveContactResponse:
        """See contact.proto."""
        await self._contacts.remove(caller().user_id, request.user_id)
        return contact_pb2.RemoveContactResponse()

    async def ListContacts(
        self, request: contact_pb2.ListContactsRequest, context: Context
    ) -> contact_pb2.ListContactsResponse:
        """See contact.proto."""
        me = caller().user_id
        return contact_pb2.ListContactsResponse(
            contacts=[convert.contact(each) for each in await self._contacts.contacts(me)],
            blocked_users=[convert.user(each) for each in await self._contacts.blocked(me)],
        )

    async def BlockUser(self, request: contact_pb2.BlockUserRequest, context: Context) -> contact_pb2.BlockUserResponse:
        """See contact.proto."""
        await self._contacts.block(caller().user_id, request.user_id)
        return contact_pb2.BlockUserResponse()

    async def UnblockUser(
        self, request: contact_pb2.UnblockUserRequest, context: Context
    ) -> contact_pb2.UnblockUserResponse:
        """See contact.proto."""
        await self._contacts.unblock(caller().user_id, request.user_id)
        return contact_pb2.UnblockUserResponse()
