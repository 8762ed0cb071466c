"""A small chat backend that keeps the contract in memory and breaks everything around it on command.

It is what the SDK's I/O layer is tested against where a real server would have to be caught at the right moment: a
stream lost between a commit and its result, an event left out or sent twice, a refusal that passes. `Backend` is the
data and the faults; `serve` puts it on a port, any number of times.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio

from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    channel_pb2_grpc,
    chat_pb2,
    chat_pb2_grpc,
    contact_pb2,
    contact_pb2_grpc,
    discovery_pb2,
    discovery_pb2_grpc,
    errors_pb2,
    history_pb2,
    history_pb2_grpc,
    presence_pb2,
    presence_pb2_grpc,
)

Context = aio.ServicerContext[Any, Any]


def status(code: str, message: str = "no", *, reason: str = "", retry_after: float | None = None) -> status_pb2.Status:
    """A google.rpc.Status with details; the reason is one of the contract's, without the prefix."""
    made = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    details: list[Message] = []
    if reason:
        errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="tidings"))
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        made.details.append(packed)
    return made


class No(Exception):  # noqa: N818 - an answer
    """Ends a call with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def no(code: str, message: str = "no", **details: object) -> No:
    """Ends a call."""
    return No(status(code, message, **details))  # type: ignore[arg-type]


@dataclass
class Log:
    """A channel."""

    channel_id: str
    kind: int
    members: list[str]
    events: list[chat_pb2.Event] = field(default_factory=list)
    results: dict[tuple[str, str], chat_pb2.Accepted] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    title: str = ""

    def sees(self, user_id: str, seq: int) -> bool:
        """Whether a user may see an event."""
        return self.since.get(user_id, 1 << 60) <= seq <= self.until.get(user_id, 1 << 60)


@dataclass(eq=False)
class FakeSession:
    """A stream."""

    device_id: str
    user_id: str
    server: str
    out: asyncio.Queue[list[chat_pb2.Event] | No | None] = field(default_factory=asyncio.Queue)
    received: list[chat_pb2.Command] = field(default_factory=list)
    frames: int = 0

    def send(self, *events: chat_pb2.Event) -> None:
        """Sends one frame."""
        self.out.put_nowait(list(events))

    def end(self, why: No | None = None) -> None:
        """Ends the stream; with OK when there is no reason."""
        self.out.put_nowait(why)


class Backend:
    """What is true, and what is to go wrong."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.users: dict[str, account_pb2.User] = {}
        self.devices: dict[str, str] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.answers: dict[tuple[str, str], account_pb2.Tokens] = {}
        """The tokens that were given, by the refresh token and the attempt that asked for them."""
        self.lost_answers = 0
        """How many of the next answers to RefreshTokens are lost."""
        self.refresh_error: status_pb2.Status | None = None
        """What RefreshTokens answers instead of tokens."""
        self.revoked: set[str] = set()
        self.channels: dict[str, Log] = {}
        self.sessions: dict[str, FakeSession] = {}
        self.addresses: list[str] = []
        self.draining: set[str] = set()
        self.token_seconds = 900.0
        self.refreshes = 0
        self.connects: list[str] = []
        self.hellos: list[int] = []
        self.asked: list[str] = []
        self.excluded: list[list[str]] = []
        self.reset = False
        """Whether to answer Hello with SyncReset."""
        self.on_command: Callable[[FakeSession, chat_pb2.Command], status_pb2.Status | None] = lambda *_: None
        """May refuse a command before it is obeyed."""
        self.on_commit: Callable[[FakeSession, chat_pb2.Command], bool] = lambda session, command: True
        """After a commit: False keeps its result from the session."""
        self.on_deliver: Callable[[FakeSession, chat_pb2.Event], Iterable[chat_pb2.Event]] = lambda session, event: [
            event
        ]
        """What a session is sent live instead of an event."""
        self.on_connect: Callable[[str], status_pb2.Status | None] = lambda server: None
        """May refuse a stream."""
        self.on_list: Callable[[list[channel_pb2.Channel]], None] = lambda page: None
        """Is told each page of channels before it is answered."""
        self.on_replay: Callable[[list[chat_pb2.Event]], list[chat_pb2.Event]] = lambda events: events
        self.history_error: status_pb2.Status | None = None
        """What HistoryService answers instead of events."""
        self.history_asked = asyncio.Event()
        self.beats = 0
        self.beat = asyncio.Event()
        self.present: dict[str, bool] = {}
        self.tracks: list[asyncio.Queue[presence_pb2.TrackResponse | No]] = []
        self._ids = itertools.count(1)
        self._position = itertools.count(1000, 7)

    async def beaten(self, times: int) -> None:
        """Waits until that many heartbeats have come."""
        while self.beats < times:
            self.beat.clear()
            await self.beat.wait()

    # --- accounts -----------------------------------------------------------------------------------------------------

    def tokens(self, device_id: str) -> account_pb2.Tokens:
        """New tokens for a device."""
        number, now = next(self._ids), time.time()
        claims = {"dev": device_id, "iat": now, "exp": now + self.token_seconds, "n": number}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        tokens = account_pb2.Tokens(access_token=f"e30.{payload}.s", refresh_token=f"refresh-{number}")
        tokens.expires_at.FromNanoseconds(int((now + self.token_seconds) * 1e9))
        self.refresh_tokens[tokens.refresh_token] = device_id
        return tokens

    def identify(self, context: Context) -> tuple[str, str]:
        """Who calls: device and user."""
        metadata = dict(context.invocation_metadata() or ())
        return self.identify_token(str(metadata.get("authorization", "")).removeprefix("Bearer "))

    def identify_token(self, token: str) -> tuple[str, str]:
        """Whose token it is."""
        try:
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (IndexError, ValueError):
            raise no("UNAUTHENTICATED", "bad token", reason="TOKEN_INVALID") from None
        if claims["exp"] < time.time():
            raise no("UNAUTHENTICATED", "old token", reason="TOKEN_EXPIRED")
        if claims["dev"] in self.revoked:
            raise no("UNAUTHENTICATED", "signed out", reason="DEVICE_REVOKED")
        return claims["dev"], self.devices[claims["dev"]]

    def servers(self, exclude: Iterable[str] = ()) -> list[discovery_pb2.Server]:
        """The servers recommended."""
        excluded = set(exclude)
        found = [
            discovery_pb2.Server(server_id=f"server-{index}", kind=discovery_pb2.SERVER_KIND_CHAT, endpoint=address)
            for index, address in enumerate(self.addresses)
            if address not in self.draining
        ]
        return sorted(found, key=lambda server: server.server_id in excluded)

    # --- channels -----------------------------------------------------------------------------------------------------

    def channel(self, members: list[str], kind: int = channel_pb2.CHANNEL_KIND_GROUP) -> Log:
        """Makes a channel; a group's first event adds its members."""
        log = Log(f"channel-{next(self._ids)}", kind, list(members))
        self.channels[log.channel_id] = log
        if kind == channel_pb2.CHANNEL_KIND_GROUP:
            self.add_members(log, members[0], members)
        else:
            log.since = dict.fromkeys(members, 1)
        return log

    def add_members(self, log: Log, actor_id: str, members: list[str]) -> None:
        """People come in."""
        log.members = list(dict.fromkeys([*log.members, *members]))
        for member in members:
            log.since[member] = len(log.events) + 1
            log.until.pop(member, None)
        changes = [
            chat_pb2.MemberChange(
                user_id=member, kind=chat_pb2.MemberChange.KIND_ADDED, role=channel_pb2.MEMBER_ROLE_MEMBER
            )
            for member in members
        ]
        self.write(log, "membership_changed", chat_pb2.MembershipChanged(actor_id=actor_id, changes=changes))

    def remove_member(self, log: Log, member: str) -> None:
        """Somebody goes."""
        change = chat_pb2.MemberChange(user_id=member, kind=chat_pb2.MemberChange.KIND_REMOVED)
        self.write(log, "membership_changed", chat_pb2.MembershipChanged(changes=[change]))
        log.until[member] = len(log.events)
        log.members.remove(member)

    def write(self, log: Log, kind: str, body: Message, origin: FakeSession | None = None) -> chat_pb2.Accepted:
        """Appends to a log and delivers to everyone but the origin."""
        seq, position = len(log.events) + 1, next(self._position)
        created = {"message_edited": "edited_at", "message_deleted": "deleted_at", "channel_updated": "updated_at"}
        body.channel_id, body.seq, body.position = log.channel_id, seq, position  # type: ignore[attr-defined]
        getattr(body, created.get(kind, "created_at")).FromNanoseconds(1_700_000_000_000_000_000 + position)
        event = chat_pb2.Event(position=position)
        getattr(event, kind).CopyFrom(body)
        log.events.append(event)
        for session in list(self.sessions.values()):
            if session is not origin and log.sees(session.user_id, seq) and session.user_id in log.members:
                sent = list(self.on_deliver(session, event))
                if sent:
                    session.send(*sent)
        accepted = chat_pb2.Accepted(channel_id=log.channel_id, seq=seq, position=position)
        accepted.created_at.FromNanoseconds(1_700_000_000_000_000_000 + position)
        return accepted

    def say(self, log: Log, sender_id: str, text: str, client_message_id: str = "") -> chat_pb2.Accepted:
        """Somebody without a session of their own writes."""
        name = client_message_id or f"said-{next(self._ids)}"
        accepted = self.write(log, "message", chat_pb2.Message(sender_id=sender_id, text=text, client_message_id=name))
        log.results[sender_id, name] = accepted
        return accepted

    def obey(self, session: FakeSession, command: chat_pb2.Command) -> chat_pb2.Accepted | status_pb2.Status:
        """Does what a command asks."""
        body = getattr(command, str(command.WhichOneof("body")))
        kind = command.WhichOneof("body")
        if kind in ("acknowledge", "set_typing"):
            return chat_pb2.Accepted()
        if kind == "reauthenticate":
            try:
                self.identify_token(body.access_token)
            except No as error:
                return error.status
            return chat_pb2.Accepted()
        log = self.channels.get(body.channel_id)
        if log is None or session.user_id not in log.members:
            return status("NOT_FOUND", "no such channel", reason="NOT_FOUND")
        if kind == "mark_read":
            log.reads[session.user_id] = max(log.reads.get(session.user_id, 0), body.seq)
            return chat_pb2.Accepted(channel_id=log.channel_id, seq=log.reads[session.user_id])
        name = f"delete-{body.seq}" if kind == "delete_message" else body.client_message_id
        key = ("" if kind == "delete_message" else session.user_id, name)
        if key in log.results:
            return log.results[key]
        if kind == "send_message":
            message = chat_pb2.Message(
                sender_id=session.user_id,
                text=body.text,
                client_message_id=name,
                reply_to_seq=body.reply_to_seq,
            )
            accepted = self.write(log, "message", message, session)
        elif kind == "edit_message":
            edited = chat_pb2.MessageEdited(message_seq=body.seq, editor_id=session.user_id, text=body.text)
            accepted = self.write(log, "message_edited", edited, session)
        else:
            deleted = chat_pb2.MessageDeleted(message_seq=body.seq, actor_id=session.user_id)
            accepted = self.write(log, "message_deleted", deleted, session)
        log.results[key] = accepted
        return accepted

    def replay(self, user_id: str, cursor: int) -> list[chat_pb2.Event]:
        """What a user has not seen, by position."""
        found = [
            event
            for log in self.channels.values()
            for seq, event in enumerate(log.events, 1)
            if event.position > cursor and log.sees(user_id, seq)
        ]
        return sorted(found, key=lambda event: event.position)

    def head(self) -> int:
        """The latest position."""
        return max((log.events[-1].position for log in self.channels.values() if log.events), default=0)

    def as_seen(self, log: Log, user_id: str) -> channel_pb2.Channel:
        """A channel for one of its members."""
        return channel_pb2.Channel(
            channel_id=log.channel_id,
            kind=log.kind,  # type: ignore[arg-type]
            title=log.title,
            members=[channel_pb2.Member(user_id=member) for member in log.members],
            head_seq=len(log.events),
            head_position=log.events[-1].position if log.events else 0,
            my_since_seq=log.since[user_id],
            my_read_seq=log.reads.get(user_id, 0),
        )

    def session_of(self, device_id: str) -> FakeSession:
        """The live session of a device."""
        return self.sessions[device_id]


async def _abort(context: Context, error: No) -> NoReturn:
    made = error.status
    code = next(code for code in grpc.StatusCode if code.value[0] == made.code)
    await context.abort(code, made.message, (("grpc-status-details-bin", made.SerializeToString()),))
    raise AssertionError("abort raises")


async def _caller(backend: Backend, context: Context) -> tuple[str, str]:
    try:
        return backend.identify(context)
    except No as error:
        await _abort(context, error)


class _Accounts(account_pb2_grpc.AccountServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def SignUp(self, request: account_pb2.SignUpRequest, context: Context) -> account_pb2.SignUpResponse:
        backend = self._backend
        if request.username in backend.passwords:
            await _abort(context, no("ALREADY_EXISTS", "taken"))
        backend.passwords[request.username] = request.password
        user = account_pb2.User(user_id=f"user-{request.username}", username=request.username)
        backend.users[request.username] = user
        return account_pb2.SignUpResponse(**self._device(user, ""))

    async def LogIn(self, request: account_pb2.LogInRequest, context: Context) -> account_pb2.LogInResponse:
        backend = self._backend
        if backend.passwords.get(request.username) != request.password:
            await _abort(context, no("UNAUTHENTICATED", "wrong", reason="WRONG_CREDENTIALS"))
        backend.revoked.discard(request.device_id)
        return account_pb2.LogInResponse(**self._device(backend.users[request.username], request.device_id))

    async def RefreshTokens(
        self, request: account_pb2.RefreshTokensRequest, context: Context
    ) -> account_pb2.RefreshTokensResponse:
        backend = self._backend
        backend.refreshes += 1
        if backend.refresh_error is not None:
            await _abort(context, No(backend.refresh_error))
        # Long enough for others to come meanwhile.
        await asyncio.sleep(0.02)
        asked = request.refresh_token, request.attempt_id
        device_id = backend.refresh_tokens.pop(request.refresh_token, None)
        if device_id is not None and device_id not in backend.revoked:
            backend.answers[asked] = backend.tokens(device_id)
        elif asked not in backend.answers:
            await _abort(context, no("UNAUTHENTICATED", "spent", reason="REFRESH_TOKEN_REUSED"))
        if backend.lost_answers:
            backend.lost_answers -= 1
            await _abort(context, no("UNAVAILABLE", "the connection was lost"))
        return account_pb2.RefreshTokensResponse(tokens=backend.answers[asked])

    async def LogOut(self, request: account_pb2.LogOutRequest, context: Context) -> account_pb2.LogOutResponse:
        device_id, _ = await _caller(self._backend, context)
        self._backend.revoked.add(device_id)
        if device_id in self._backend.sessions:
            self._backend.sessions[device_id].end(no("UNAUTHENTICATED", "signed out", reason="DEVICE_REVOKED"))
        return account_pb2.LogOutResponse()

    async def GetUser(self, request: account_pb2.GetUserRequest, context: Context) -> account_pb2.GetUserResponse:
        await _caller(self._backend, context)
        found = [user for user in self._backend.users.values() if user.user_id == request.user_id]
        if not found:
            await _abort(context, no("NOT_FOUND", "no such user", reason="NOT_FOUND"))
        return account_pb2.GetUserResponse(user=found[0])

    async def SearchUsers(
        self, request: account_pb2.SearchUsersRequest, context: Context
    ) -> account_pb2.SearchUsersResponse:
        """Everybody, whatever is looked for."""
        await _caller(self._backend, context)
        return account_pb2.SearchUsersResponse(users=self._backend.users.values())

    def _device(self, user: account_pb2.User, device_id: str) -> dict[str, Any]:
        backend = self._backend
        device_id = device_id or f"device-{len(backend.devices) + 1}"
        backend.devices[device_id] = user.user_id
        return {
            "user": user,
            "device_id": device_id,
            "tokens": backend.tokens(device_id),
            "servers": backend.servers(),
        }


class _Contacts(contact_pb2_grpc.ContactServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListContacts(
        self, request: contact_pb2.ListContactsRequest, context: Context
    ) -> contact_pb2.ListContactsResponse:
        """Everybody is a contact, and blocked."""
        _, user_id = await _caller(self._backend, context)
        others = [user for user in self._backend.users.values() if user.user_id != user_id]
        return contact_pb2.ListContactsResponse(
            contacts=[contact_pb2.Contact(user=user) for user in others], blocked_users=others
        )


class _Channels(channel_pb2_grpc.ChannelServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def CreateGroup(
        self, request: channel_pb2.CreateGroupRequest, context: Context
    ) -> channel_pb2.CreateGroupResponse:
        _, user_id = await _caller(self._backend, context)
        log = self._backend.channel([user_id, *request.member_ids])
        return channel_pb2.CreateGroupResponse(channel=self._backend.as_seen(log, user_id))

    async def GetChannel(
        self, request: channel_pb2.GetChannelRequest, context: Context
    ) -> channel_pb2.GetChannelResponse:
        self._backend.asked.append(f"GetChannel {request.channel_id}")
        _, user_id = await _caller(self._backend, context)
        log = self._backend.channels.get(request.channel_id)
        if log is None or user_id not in log.members:
            await _abort(context, no("NOT_FOUND", "no such channel"))
        return channel_pb2.GetChannelResponse(channel=self._backend.as_seen(log, user_id))

    async def ListChannels(
        self, request: channel_pb2.ListChannelsRequest, context: Context
    ) -> channel_pb2.ListChannelsResponse:
        _, user_id = await _caller(self._backend, context)
        self._backend.asked.append("ListChannels")
        mine = [
            self._backend.as_seen(log, user_id) for log in self._backend.channels.values() if user_id in log.members
        ]
        mine.sort(key=lambda channel: channel.head_position, reverse=True)
        if request.page_token:
            mine = [channel for channel in mine if channel.head_position < int(request.page_token)]
        # Small pages, so that there are several.
        page = mine[:2]
        self._backend.on_list(page)
        return channel_pb2.ListChannelsResponse(
            channels=page, next_page_token=str(page[-1].head_position) if len(mine) > 2 else ""
        )


class _History(history_pb2_grpc.HistoryServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListEvents(
        self, request: history_pb2.ListEventsRequest, context: Context
    ) -> history_pb2.ListEventsResponse:
        self._backend.asked.append(f"ListEvents {request.before_seq} {request.after_seq}")
        self._backend.history_asked.set()
        if self._backend.history_error is not None:
            await _abort(context, No(self._backend.history_error))
        return history_pb2.ListEventsResponse(events=await self._page(request, context, is_wanted=lambda event: True))

    async def ListMessages(
        self, request: history_pb2.ListMessagesRequest, context: Context
    ) -> history_pb2.ListMessagesResponse:
        """The messages as they were written: no test here asks for one that was edited or deleted."""
        page = await self._page(request, context, is_wanted=lambda event: event.HasField("message"))
        return history_pb2.ListMessagesResponse(messages=[event.message for event in page])

    async def _page(
        self,
        request: history_pb2.ListEventsRequest | history_pb2.ListMessagesRequest,
        context: Context,
        is_wanted: Callable[[chat_pb2.Event], bool],
    ) -> list[chat_pb2.Event]:
        _, user_id = await _caller(self._backend, context)
        log = self._backend.channels.get(request.channel_id)
        if log is None or user_id not in log.since:
            await _abort(context, no("NOT_FOUND", "no such channel"))
        visible = [event for seq, event in enumerate(log.events, 1) if log.sees(user_id, seq) and is_wanted(event)]
        size = min(request.page_size or 50, 200)

        def seq_of(event: chat_pb2.Event) -> int:
            return int(getattr(event, str(event.WhichOneof("body"))).seq)

        if request.HasField("after_seq"):
            return [event for event in visible if seq_of(event) > request.after_seq][:size]
        return [event for event in visible if not request.before_seq or seq_of(event) < request.before_seq][-size:]


class _Discovery(discovery_pb2_grpc.DiscoveryServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def RecommendServers(
        self, request: discovery_pb2.RecommendServersRequest, context: Context
    ) -> discovery_pb2.RecommendServersResponse:
        if request.kind == discovery_pb2.SERVER_KIND_CHAT:
            self._backend.excluded.append(list(request.exclude_server_ids))
        return discovery_pb2.RecommendServersResponse(servers=self._backend.servers(request.exclude_server_ids)[:5])


class _Chat(chat_pb2_grpc.ChatServiceServicer):
    def __init__(self, backend: Backend, address: str) -> None:
        self._backend = backend
        self._address = address

    async def Converse(
        self, request_iterator: AsyncIterator[chat_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[chat_pb2.ConverseResponse]:
        backend = self._backend
        backend.connects.append(self._address)
        try:
            device_id, user_id = backend.identify(context)
            refused = backend.on_connect(self._address)
            if refused is not None:
                raise No(refused)
            frame = await anext(request_iterator)
            hello = frame.commands[0].hello
            backend.hellos.append(hello.cursor)
            if hello.cursor > backend.head() + 1_000_000:
                raise no("OUT_OF_RANGE", "from the future")
            before = backend.sessions.get(device_id)
            if before is not None:
                before.end(no("ABORTED", "replaced", reason="SESSION_REPLACED"))
            session = FakeSession(device_id, user_id, self._address)
            server_id = f"server-{backend.addresses.index(self._address)}"
            head = backend.head()
            first = [chat_pb2.Event(welcome=chat_pb2.Welcome(session_id="s", server_id=server_id, position=head))]
            if backend.reset:
                first.append(chat_pb2.Event(sync_reset=chat_pb2.SyncReset()))
            else:
                first += backend.on_replay(backend.replay(user_id, hello.cursor))
            first.append(chat_pb2.Event(sync_complete=chat_pb2.SyncComplete(position=head)))
            for start in range(0, len(first), 100):
                session.send(*first[start : start + 100])
            backend.sessions[device_id] = session
            reader = asyncio.create_task(self._read(session, request_iterator))
            try:
                while (out := await session.out.get()) is not None:
                    if isinstance(out, No):
                        raise out
                    yield chat_pb2.ConverseResponse(events=out)
            finally:
                reader.cancel()
                if backend.sessions.get(device_id) is session:
                    del backend.sessions[device_id]
        except No as error:
            await _abort(context, error)

    async def _read(self, session: FakeSession, frames: AsyncIterator[chat_pb2.ConverseRequest]) -> None:
        backend = self._backend
        async for frame in frames:
            session.frames += 1
            for command in frame.commands:
                session.received.append(command)
                refused = backend.on_command(session, command)
                outcome = refused if refused is not None else backend.obey(session, command)
                result = chat_pb2.CommandResult(command_id=command.command_id)
                if isinstance(outcome, status_pb2.Status):
                    result.error.CopyFrom(outcome)
                else:
                    result.accepted.CopyFrom(outcome)
                    if not backend.on_commit(session, command):
                        continue
                if command.command_id or result.HasField("error"):
                    session.send(chat_pb2.Event(command_result=result))
        session.end()


class _Presence(presence_pb2_grpc.PresenceServiceServicer):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def Track(
        self, request_iterator: AsyncIterator[presence_pb2.TrackRequest], context: Context
    ) -> AsyncIterator[presence_pb2.TrackResponse]:
        backend = self._backend
        await _caller(backend, context)
        out: asyncio.Queue[presence_pb2.TrackResponse | No] = asyncio.Queue()
        out.put_nowait(
            presence_pb2.TrackResponse(
                changes=[
                    presence_pb2.PresenceChange(user_id=user_id, online=online)
                    for user_id, online in backend.present.items()
                ]
            )
        )
        backend.tracks.append(out)

        async def listen() -> None:
            async for _ in request_iterator:
                backend.beats += 1
                backend.beat.set()

        listener = asyncio.create_task(listen())
        try:
            while True:
                answer = await out.get()
                if isinstance(answer, No):
                    await _abort(context, answer)
                yield answer
        finally:
            listener.cancel()
            backend.tracks.remove(out)


@contextlib.asynccontextmanager
async def serve(backend: Backend) -> AsyncIterator[tuple[str, aio.Server]]:
    """Puts a backend on one more port of loopback; gives HOST:PORT and the server."""
    server = aio.server(options=(("grpc.so_reuseport", 0),))
    port = server.add_insecure_port("127.0.0.1:0")
    address = f"127.0.0.1:{port}"
    backend.addresses.append(address)
    # What is missing in the classes answers UNIMPLEMENTED: nobody here calls it.
    accounts, channels = _Accounts(backend), _Channels(backend)  # type: ignore[abstract]
    discovery, presence = _Discovery(backend), _Presence(backend)  # type: ignore[abstract]
    account_pb2_grpc.add_AccountServiceServicer_to_server(accounts, server)
    contact_pb2_grpc.add_ContactServiceServicer_to_server(_Contacts(backend), server)  # type: ignore[abstract]
    channel_pb2_grpc.add_ChannelServiceServicer_to_server(channels, server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(_History(backend), server)
    discovery_pb2_grpc.add_DiscoveryServiceServicer_to_server(discovery, server)
    chat_pb2_grpc.add_ChatServiceServicer_to_server(_Chat(backend, address), server)
    presence_pb2_grpc.add_PresenceServiceServicer_to_server(presence, server)
    await server.start()
    try:
        yield address, server
    finally:
        await server.stop(None)
