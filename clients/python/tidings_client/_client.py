"""The façade of the SDK: a signed-in device, with a method for every call of the contract."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    chat_pb2,
    contact_pb2,
    discovery_pb2,
    history_pb2,
    presence_pb2,
    push_pb2,
)
from tidings_client._api_client import ApiClient, call
from tidings_client._connection import Connection
from tidings_client._errors import SignedOutError
from tidings_client._presence import Presence, PresenceLookup
from tidings_client._storage import SavedDevice, Storage
from tidings_client._stream_runner import Status
from tidings_client._transport import Tls, open_channel

_TIMEOUT_SECONDS = 10.0

Path = str | os.PathLike[str]


class Tidings:
    """A device that is signed in as a user.

    `sign_up`, `log_in` and `resume` make it; it is closed by ``async with``. Its methods call the servers and return
    the protobuf messages of the contract, whose comments say what they promise. All of them raise `TidingsError` for a
    refusal, and `SignedOutError` when the sign-in has ended. Tokens are renewed in time, and saved with the progress.

    It belongs to one event loop, and is not for use from several threads.

    Args:
        storage: Keeps the device's sign-in and progress.
        device: The device, which is signed in.
        tls: How connections are secured, as in `sign_up`.
        timeout: Seconds that each call may take.
        is_new: Whether the device signed in just now; otherwise it was found on the disk.
    """

    def __init__(self, storage: Storage, device: SavedDevice, *, tls: Tls, timeout: float, is_new: bool) -> None:
        self._storage = storage
        self._api = ApiClient(storage, device, tls=tls, timeout=timeout, is_new=is_new)
        self._presence_lookup = PresenceLookup(self._api)
        self._is_connected = False

    # --- signing in and out -------------------------------------------------------------------------------------------

    @classmethod
    async def sign_up(
        cls,
        server: str,
        username: str,
        password: str,
        *,
        display_name: str = "",
        device_name: str = "",
        platform: account_pb2.Platform = account_pb2.PLATFORM_DESKTOP,
        data: Path | None = None,
        tls: Tls = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> Self:
        """Makes an account, and signs this device in to it.

        Args:
            server: HOST:PORT of the api.
            username: 3 to 32 characters of a-z, 0-9, dot, underscore and hyphen.
            password: 8 to 128 characters.
            display_name: The name to show; the username when empty.
            device_name: A name for this device.
            platform: The platform that this device runs on.
            data: The file to keep tokens and progress in, made when there is none; what another device left in it is
                replaced. None keeps them in memory, for as long as this object lives.
            tls: PEM root certificates to trust; True for the system's, False for plaintext, None for plaintext to
                loopback addresses and TLS to all others.
            timeout: Seconds that each call may take.

        Raises:
            TidingsError: The sign-up is refused, or the file is in use.
        """
        request = account_pb2.SignUpRequest(
            username=username,
            password=password,
            display_name=display_name,
            device_name=device_name,
            platform=platform,
        )
        storage = Storage(data)
        try:
            async with open_channel(server, tls) as channel:
                stub = account_pb2_grpc.AccountServiceStub(channel)
                answer = await call(stub.SignUp, request, timeout)
            return cls._begin(storage, server, answer, tls, timeout)
        except BaseException:
            storage.close()
            raise

    @classmethod
    async def log_in(
        cls,
        server: str,
        username: str,
        password: str,
        *,
        device_name: str = "",
        platform: account_pb2.Platform = account_pb2.PLATFORM_DESKTOP,
        data: Path | None = None,
        tls: Tls = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> Self:
        """Signs this device in.

        When `data` is the file of a device of this user, it signs in as that device and continues from its progress.
        Otherwise it signs in as a new device, and what another user's device left in the file is replaced.

        Args:
            server: HOST:PORT of the api.
            username: The name that the user signed up with.
            password: The password.
            device_name: A name for a new device.
            platform: The platform that this device runs on.
            data: As in `sign_up`.
            tls: As in `sign_up`.
            timeout: Seconds that each call may take.

        Raises:
            TidingsError: The sign-in is refused, or the file is in use.
        """
        storage = Storage(data)
        try:
            before = storage.device()
            request = account_pb2.LogInRequest(
                username=username, password=password, device_name=device_name, platform=platform
            )
            if before is not None and before.user.username == username.lower():
                request.device_id = before.device_id
            async with open_channel(server, tls) as channel:
                stub = account_pb2_grpc.AccountServiceStub(channel)
                answer = await call(stub.LogIn, request, timeout)
            return cls._begin(storage, server, answer, tls, timeout)
        except BaseException:
            storage.close()
            raise

    @classmethod
    async def resume(cls, data: Path, *, server: str = "", tls: Tls = None, timeout: float = _TIMEOUT_SECONDS) -> Self:
        """Continues as the device that is saved in a file, without asking a server yet.

        Args:
            data: The file that was given to `sign_up` or `log_in`.
            server: HOST:PORT of the api; the saved one when empty.
            tls: As in `sign_up`.
            timeout: Seconds that each call may take.

        Raises:
            SignedOutError: There is no such file, or the device in it is signed out.
            TidingsError: The file is in use.
        """
        if not _is_there(data):
            raise SignedOutError(grpc.StatusCode.UNAUTHENTICATED, f"{data} is not there: sign in first")
        storage = Storage(data)
        try:
            device = storage.device()
            if device is None or device.tokens is None:
                raise SignedOutError(grpc.StatusCode.UNAUTHENTICATED, f"the device in {data} is signed out: log in")
            if server and server != device.server:
                device.server = server
                storage.save_device(device)
            return cls(storage, device, tls=tls, timeout=timeout, is_new=False)
        except BaseException:
            storage.close()
            raise

    @classmethod
    def _begin(
        cls,
        storage: Storage,
        server: str,
        answer: account_pb2.SignUpResponse | account_pb2.LogInResponse,
        tls: Tls,
        timeout: float,
    ) -> Self:
        device = SavedDevice(server, answer.user, answer.device_id, answer.tokens, list(answer.servers))
        storage.save_device(device)
        return cls(storage, device, tls=tls, timeout=timeout, is_new=True)

    async def log_out(self) -> None:
        """Signs this device out: its streams end, it is offline at once, and only `close` may be called afterwards.

        Its progress stays in the file: logging in with the same file continues from there.
        """
        await self._api.ask(self._api.accounts.LogOut, account_pb2.LogOutRequest())
        self._storage.save_tokens(None)

    async def close(self) -> None:
        """Closes the connections to the servers, and the file. Each `Connection` and `Presence` is closed before."""
        await self._presence_lookup.close()
        await self._api.close()
        self._storage.close()

    async def __aenter__(self) -> Self:
        """Enters the block that the device is closed by."""
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the device."""
        await self.close()

    @property
    def user(self) -> account_pb2.User:
        """The user's profile, as of the sign-in or the last `update_profile`."""
        return self._api.device.user

    @property
    def user_id(self) -> str:
        """The user's id."""
        return self._api.device.user.user_id

    @property
    def device_id(self) -> str:
        """The device's id."""
        return self._api.device.device_id

    @property
    def servers(self) -> Sequence[discovery_pb2.Server]:
        """The chat servers recommended last, best first."""
        return self._api.device.servers

    # --- streams ------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def connect(
        self, *, echo: bool = True, max_in_flight: int = 256, on_status: Callable[[Status], None] | None = None
    ) -> AsyncIterator[Connection]:
        """Opens the stream, for ``async with``; a device has one at a time.

        Args:
            echo: Whether the events made over this connection are iterated too, so that an application sees the whole
                log. Even when they are not, one whose result was lost with a broken stream may come.
            max_in_flight: The most commands that may be without a result; further ones wait.
            on_status: Is called with each new `Status`.

        Raises:
            RuntimeError: A connection of this object is open; a second one would end it.
        """
        if self._is_connected:
            raise RuntimeError("there is a connection already, and a device has one stream")
        self._is_connected = True
        try:
            connection = Connection(
                self._api, self._storage, echo=echo, max_in_flight=max_in_flight, on_status=on_status
            )
            async with connection:
                yield connection
        finally:
            self._is_connected = False

    def presence(self) -> Presence:
        """Makes a presence: the device is online while it is entered with ``async with``."""
        return Presence(self._api)

    # --- users and devices --------------------------------------------------------------------------------------------

    async def get_user(self, user_id: str) -> account_pb2.User:
        """Gets one user's profile."""
        request = account_pb2.GetUserRequest(user_id=user_id)
        answer = await self._api.ask(self._api.accounts.GetUser, request)
        return answer.user

    async def search_users(
        self, prefix: str, page_size: int = 20, page_token: str = ""
    ) -> account_pb2.SearchUsersResponse:
        """Finds users whose username or display name begins with a prefix.

        Args:
            prefix: 1 to 64 characters; case does not matter.
            page_size: The most users to return, up to 100.
            page_token: The `next_page_token` of the page before.
        """
        request = account_pb2.SearchUsersRequest(prefix=prefix, page_size=page_size, page_token=page_token)
        return await self._api.ask(self._api.accounts.SearchUsers, request)

    async def update_profile(self, *, display_name: str | None = None, about: str | None = None) -> account_pb2.User:
        """Changes the user's own profile; None leaves a field as it is."""
        request = account_pb2.UpdateProfileRequest(display_name=display_name, about=about)
        answer = await self._api.ask(self._api.accounts.UpdateProfile, request)
        self._api.device.user = answer.user
        return answer.user

    async def change_password(self, old_password: str, new_password: str) -> None:
        """Changes the password, and signs out every other device."""
        request = account_pb2.ChangePasswordRequest(old_password=old_password, new_password=new_password)
        answer = await self._api.ask(self._api.accounts.ChangePassword, request)
        self._api.keeper.replace(answer.tokens)

    async def list_devices(self) -> Sequence[account_pb2.Device]:
        """Lists the user's own devices, oldest first."""
        request = account_pb2.ListDevicesRequest()
        answer = await self._api.ask(self._api.accounts.ListDevices, request)
        return answer.devices

    async def revoke_device(self, device_id: str) -> None:
        """Signs out one of the user's own devices."""
        await self._api.ask(self._api.accounts.RevokeDevice, account_pb2.RevokeDeviceRequest(device_id=device_id))

    # --- contacts -----------------------------------------------------------------------------------------------------

    async def add_contact(self, user_id: str) -> contact_pb2.Contact:
        """Adds a user to the contacts."""
        request = contact_pb2.AddContactRequest(user_id=user_id)
        answer = await self._api.ask(self._api.contacts.AddContact, request)
        return answer.contact

    async def remove_contact(self, user_id: str) -> None:
        """Removes a user from the contacts."""
        await self._api.ask(self._api.contacts.RemoveContact, contact_pb2.RemoveContactRequest(user_id=user_id))

    async def list_contacts(self) -> contact_pb2.ListContactsResponse:
        """Lists the contacts, and the users who are blocked."""
        return await self._api.ask(self._api.contacts.ListContacts, contact_pb2.ListContactsRequest())

    async def block_user(self, user_id: str) -> None:
        """Blocks a user."""
        await self._api.ask(self._api.contacts.BlockUser, contact_pb2.BlockUserRequest(user_id=user_id))

    async def unblock_user(self, user_id: str) -> None:
        """Lifts a block."""
        await self._api.ask(self._api.contacts.UnblockUser, contact_pb2.UnblockUserRequest(user_id=user_id))

    # --- channels -----------------------------------------------------------------------------------------------------

    async def open_direct_channel(self, user_id: str) -> channel_pb2.Channel:
        """Opens the direct channel with a user; it is made when there is none."""
        request = channel_pb2.OpenDirectChannelRequest(user_id=user_id)
        answer = await self._api.ask(self._api.channels.OpenDirectChannel, request)
        return answer.channel

    async def create_group(self, title: str, member_ids: Sequence[str] = ()) -> channel_pb2.Channel:
        """Makes a group.

        Args:
            title: 1 to 128 characters.
            member_ids: The members besides the user, at most 99.
        """
        request = channel_pb2.CreateGroupRequest(title=title, member_ids=member_ids)
        answer = await self._api.ask(self._api.channels.CreateGroup, request)
        return answer.channel

    async def get_channel(self, channel_id: str) -> channel_pb2.Channel:
        """Gets one channel that the user is in."""
        request = channel_pb2.GetChannelRequest(channel_id=channel_id)
        answer = await self._api.ask(self._api.channels.GetChannel, request)
        return answer.channel

    async def list_channels(self) -> Sequence[channel_pb2.Channel]:
        """Lists all channels that the user is in, latest activity first.

        Each is there once, also one in which something happens while the list is being read.
        """
        return await self._api.list_channels()

    async def add_members(self, channel_id: str, member_ids: Sequence[str]) -> channel_pb2.Channel:
        """Adds 1 to 99 users to a group: all or none."""
        request = channel_pb2.AddMembersRequest(channel_id=channel_id, member_ids=member_ids)
        answer = await self._api.ask(self._api.channels.AddMembers, request)
        return answer.channel

    async def remove_member(self, channel_id: str, user_id: str) -> channel_pb2.Channel:
        """Removes one user from a group."""
        request = channel_pb2.RemoveMemberRequest(channel_id=channel_id, user_id=user_id)
        answer = await self._api.ask(self._api.channels.RemoveMember, request)
        return answer.channel

    async def leave_group(self, channel_id: str) -> None:
        """Leaves a group."""
        await self._api.ask(self._api.channels.LeaveGroup, channel_pb2.LeaveGroupRequest(channel_id=channel_id))

    async def retitle_group(self, channel_id: str, title: str) -> channel_pb2.Channel:
        """Changes a group's title; 1 to 128 characters."""
        return await self._update(channel_pb2.UpdateGroupRequest(channel_id=channel_id, title=title))

    async def change_role(self, channel_id: str, user_id: str, role: channel_pb2.MemberRole) -> channel_pb2.Channel:
        """Gives a member of a group another role; the role OWNER hands the group over."""
        change = channel_pb2.RoleChange(user_id=user_id, role=role)
        return await self._update(channel_pb2.UpdateGroupRequest(channel_id=channel_id, role_change=change))

    async def set_mute(self, channel_id: str, muted: bool) -> None:
        """Mutes or unmutes a channel; a muted one causes no pushes."""
        await self._api.ask(self._api.channels.SetMute, channel_pb2.SetMuteRequest(channel_id=channel_id, muted=muted))

    # --- history ------------------------------------------------------------------------------------------------------

    async def list_messages(
        self, channel_id: str, *, before_seq: int = 0, after_seq: int | None = None, page_size: int = 50
    ) -> Sequence[chat_pb2.Message]:
        """Lists a page of messages as a screen shows them, ordered by seq: the latest page unless told otherwise.

        Args:
            channel_id: The channel.
            before_seq: When not 0, the page is the latest one before this seq.
            after_seq: Unless None, the page is the first one after this seq, and 0 means from the beginning; not both.
            page_size: The most messages to return, up to 200.
        """
        request = history_pb2.ListMessagesRequest(
            channel_id=channel_id, before_seq=before_seq, after_seq=after_seq, page_size=page_size
        )
        answer = await self._api.ask(self._api.history.ListMessages, request)
        return answer.messages

    async def list_events(
        self, channel_id: str, *, before_seq: int = 0, after_seq: int | None = None, page_size: int = 50
    ) -> Sequence[chat_pb2.Event]:
        """Lists a page of the log itself, ordered by seq; the arguments are those of `list_messages`."""
        request = history_pb2.ListEventsRequest(
            channel_id=channel_id, before_seq=before_seq, after_seq=after_seq, page_size=page_size
        )
        answer = await self._api.ask(self._api.history.ListEvents, request)
        return answer.events

    # --- push, presence and servers -----------------------------------------------------------------------------------

    async def register_push_token(
        self,
        provider: push_pb2.PushProvider,
        token: str,
        preview: push_pb2.PushPreview = push_pb2.PUSH_PREVIEW_UNSPECIFIED,
    ) -> None:
        """Sets this device's push token, and what its pushes show; it replaces an earlier one."""
        request = push_pb2.RegisterPushTokenRequest(provider=provider, token=token, preview=preview)
        await self._api.ask(self._api.pushes.RegisterPushToken, request)

    async def unregister_push_token(self) -> None:
        """Removes this device's push token."""
        await self._api.ask(self._api.pushes.UnregisterPushToken, push_pb2.UnregisterPushTokenRequest())

    async def get_presence(self, user_ids: Sequence[str]) -> Sequence[presence_pb2.PresenceChange]:
        """Asks for the presence of up to 100 users now, in this order."""
        return await self._presence_lookup.get(user_ids)

    async def recommend_servers(
        self, kind: discovery_pb2.ServerKind = discovery_pb2.SERVER_KIND_CHAT, exclude: Sequence[str] = ()
    ) -> Sequence[discovery_pb2.Server]:
        """Asks discovery for servers of a kind, best first.

        Args:
            kind: What the servers serve.
            exclude: The ids of servers that have just failed; they come last.
        """
        return await self._api.recommend(kind, exclude)

    # --- behind the scenes --------------------------------------------------------------------------------------------

    async def _update(self, request: channel_pb2.UpdateGroupRequest) -> channel_pb2.Channel:
        answer = await self._api.ask(self._api.channels.UpdateGroup, request)
        return answer.channel


def _is_there(data: Path) -> bool:
    return pathlib.Path(data).exists()
