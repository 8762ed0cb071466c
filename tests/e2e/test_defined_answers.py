"""Every field of every request has an answer for every value: found by the contract's descriptors, so that a field that
is added is tried too."""

from __future__ import annotations

import math
import secrets
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tests.support.raw import CODES, Api, Device, details_of
from tests.support.requests import FieldPath, bodies, filled, is_id, methods, multi_callable, scalars
from tidings.v1 import account_pb2, channel_pb2, chat_pb2, presence_pb2

pytestmark = pytest.mark.timeout(300)

COMPOSITIONS = ("embedded", "mesh")

# What names a user, a device, a channel or a server.
BAD_IDS = ("\0", "u\0", "a b", "a\n", "ü", "\u202ea", "a/../b", "x" * 65, "x" * 100_000)
# What a client calls something of its own.
BAD_CLIENT_IDS = ("\0" * 22, "a" * 22 + "\n", "a" * 22 + "\u202e", "a" * 22 + "\u200b", "x" * 129)
CLIENTS_OWN = ("client_message_id", "attempt_id")
# Where the contract gives nothing a meaning.
MAY_BE_EMPTY = ("LogInRequest.device_id", "RefreshTokensRequest.attempt_id", "EditMessage.client_message_id")

SINGLE_CALLS = [each for each in methods() if not each.client_streaming]


def bad_ids(field: FieldDescriptor) -> tuple[str, ...]:
    bad = BAD_CLIENT_IDS if field.name in CLIENTS_OWN else BAD_IDS
    return bad if field.full_name.removeprefix("tidings.v1.") in MAY_BE_EMPTY else ("", *bad)


def plausible(field: FieldDescriptor) -> Any:
    """A value of a field that nobody has to refuse by itself."""
    if is_id(field):
        return "a" * 22
    if field.type == FieldDescriptor.TYPE_STRING:
        return {"username": "somebody", "password": "not that one"}.get(field.name, "text")
    return field.type != FieldDescriptor.TYPE_BYTES and 1


async def refusal_of(api: Api, device: Device, method: MethodDescriptor, request: Any) -> aio.AioRpcError | None:
    """Makes a call; what it is refused with, if it is."""
    channel = api.dial()
    if method.containing_service.name == "PresenceService":
        channel = api.dial((await api.presence_servers())[0].endpoint)
    call = multi_callable(channel, method)(request, metadata=device.metadata, timeout=20)
    try:
        if method.server_streaming:
            await call.read()
            call.cancel()
        else:
            await call
    except aio.AioRpcError as error:
        return error
    return None


def id_paths(method: MethodDescriptor) -> list[FieldPath]:
    return [path for path in scalars(method.input_type) if is_id(path.field)]


@pytest.mark.parametrize("method", [each for each in SINGLE_CALLS if id_paths(each)], ids=lambda each: each.full_name)
async def test_an_id_that_is_none_is_refused_by_name(api: Api, method: MethodDescriptor) -> None:
    device = await api.sign_up()
    for path in id_paths(method):
        for bad in bad_ids(path.field):
            request = filled(method.input_type, plausible)
            path.set(request, bad)
            refused = await refusal_of(api, device, method, request)
            assert refused is not None, (path.name, bad)
            assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT, (path.name, bad, refused)
            assert details_of(refused).fields == [path.name], (path.name, bad)


@pytest.mark.parametrize("body", [name for name, asked in bodies().items() if any(map(is_id, asked.fields))])
async def test_an_id_in_a_command_that_is_none_is_refused_by_name(api: Api, body: str) -> None:
    device = await api.sign_up()
    described = bodies()[body]
    async with device.stream() as stream:
        for path in scalars(described):
            for bad in bad_ids(path.field) if is_id(path.field) else ():
                asked = filled(described, plausible)
                path.set(asked, bad)
                result = await stream.ask(**{body: asked})
                assert CODES[result.error.code] == grpc.StatusCode.INVALID_ARGUMENT, (path.name, bad, result)
                assert details_of(result.error).fields == [f"{body}.{path.name}"], (path.name, bad)


async def test_a_well_formed_id_of_nothing_is_not_found(api: Api) -> None:
    ann = await api.sign_up("ann")
    async with ann.stream() as stream:
        for unknown in ("nobody", "u" + "a" * 16, "x" * 64, ann.device_id):
            for method in ("GetUser", "OpenDirectChannel", "AddContact", "BlockUser", "GetChannel", "SetMute"):
                described = next(each for each in SINGLE_CALLS if each.name == method)
                request = filled(described.input_type, plausible)
                for path in id_paths(described):
                    path.set(request, unknown)
                refused = await refusal_of(api, ann, described, request)
                assert refused is not None, (method, unknown)
                assert refused.code() == grpc.StatusCode.NOT_FOUND, (method, unknown)
            result = await stream.send(unknown, "hello")
            assert CODES[result.error.code] == grpc.StatusCode.NOT_FOUND
            assert details_of(result.error).reason == "NOT_FOUND"


# --- what others are shown --------------------------------------------------------------------------------------------

SHOWN = (
    ("SignUp", "display_name"),
    ("UpdateProfile", "display_name"),
    ("UpdateProfile", "about"),
    ("CreateGroup", "title"),
    ("UpdateGroup", "title"),
)
NOT_SHOWN = (
    *("\0", "a\nb", "\x1b[2J", "\u202eann", "a\u200bb", "\u3164", " ", "\u2066x", "\U000e0061x"),
    "e" + "\u0301" * 40,
)


@pytest.mark.parametrize(("method", "field"), SHOWN)
async def test_a_name_that_hides_something_is_refused(api: Api, method: str, field: str) -> None:
    ann = await api.sign_up()
    group = await ann.group(title="  Zoe\u0308 \u00a0& co ")
    assert group.title == "Zoë & co"
    described = next(each for each in SINGLE_CALLS if each.name == method)
    for bad in NOT_SHOWN:
        request: Any = GetMessageClass(described.input_type)(**{field: bad})
        if method == "SignUp":
            request.username, request.password = "somebody-else", "not that one"
        elif method == "UpdateGroup":
            request.channel_id = group.channel_id
        refused = await refusal_of(api, ann, described, request)
        assert refused is not None, (field, bad)
        assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT, (field, bad, refused)
        assert details_of(refused).fields == [field], (field, bad)


async def test_the_name_of_a_device_is_cleaned(api: Api) -> None:
    request = account_pb2.SignUpRequest(
        username=f"cleaned-{secrets.token_hex(4)}",
        password="not that one",
        device_name="Ann\u2019s\u00a0\u200eiPhone\n",
        display_name="👩\u200d🚀",
    )
    answer = await api.accounts.SignUp(request)
    assert answer.user.display_name == "👩\u200d🚀"
    listed = await api.accounts.ListDevices(account_pb2.ListDevicesRequest(), metadata=Device(api, answer).metadata)
    assert [each.device_name for each in listed.devices] == ["Ann\u2019s iPhone"]


# --- the ends of every field ------------------------------------------------------------------------------------------

ENDS: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.TYPE_UINT32: (0, 1, 2**31, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: (0, 1, 2, 5, 100, 101, 2**31 - 1, -1, -(2**31)),
    FieldDescriptor.TYPE_DOUBLE: (0.0, -0.0, 90.5, 1e308, math.inf, -math.inf, math.nan),
    FieldDescriptor.TYPE_BOOL: (False, True),
    FieldDescriptor.TYPE_STRING: (
        *("", "\0", "a\0b", "'\"%_*?[\\", "\U0010ffff", "AAAA", "A" * 16),
        "e" + "\u0301" * 60,
        "x" * 100_001,
    ),
}
# What no answer may be: nobody knows then what happened.
UNDEFINED = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class Scene:
    """Ann, who owns a group with Bob; what a request names is theirs."""

    def __init__(self, ann: Device, bob: Device, channel_id: str) -> None:
        self.ann, self.bob, self.channel_id = ann, bob, channel_id

    @staticmethod
    async def made(api: Api) -> Scene:
        ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
        channel_id = (await ann.group(bob)).channel_id
        async with ann.stream() as stream:
            await stream.send(channel_id, "hello")
        return Scene(ann, bob, channel_id)

    def plausible(self, field: FieldDescriptor) -> Any:
        known = {
            "channel_id": self.channel_id,
            "user_id": self.bob.user_id,
            "member_ids": self.bob.user_id,
            "user_ids": self.bob.user_id,
            "page_token": "",
            "seq": 3,
            "before_seq": 0,
            "reply_to_seq": 3,
            "title": "a title",
        }
        return known[field.name] if field.name in known else plausible(field)


@pytest.mark.parametrize("method", SINGLE_CALLS, ids=lambda each: each.full_name)
async def test_every_value_of_every_field_of_a_call_has_an_answer(api: Api, method: MethodDescriptor) -> None:
    scene = await Scene.made(api)
    for path in scalars(method.input_type):
        for end in ENDS[path.field.type]:
            request = filled(method.input_type, scene.plausible)
            path.set(request, end)
            refused = await refusal_of(api, scene.ann, method, request)
            assert refused is None or refused.code() not in UNDEFINED, (path.name, end, refused)
            if refused is not None and refused.code() == grpc.StatusCode.INVALID_ARGUMENT:
                assert details_of(refused).fields, (path.name, end, refused)


@pytest.mark.parametrize("body", [name for name in bodies() if name != "hello"])
async def test_every_value_of_every_field_of_a_command_has_an_answer(api: Api, body: str) -> None:
    scene = await Scene.made(api)
    described = bodies()[body]
    async with scene.ann.stream() as stream:
        for path in scalars(described):
            for end in ENDS[path.field.type]:
                asked = filled(described, scene.plausible)
                path.set(asked, end)
                result = await stream.ask(**{body: asked})
                assert CODES[result.error.code] not in (*UNDEFINED, grpc.StatusCode.RESOURCE_EXHAUSTED), (
                    path.name,
                    end,
                )
                if CODES[result.error.code] == grpc.StatusCode.INVALID_ARGUMENT:
                    assert details_of(result.error).fields, (path.name, end, result)


@pytest.mark.parametrize("cursor", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
async def test_every_cursor_has_an_answer(api: Api, cursor: int) -> None:
    scene = await Scene.made(api)
    try:
        async with scene.bob.stream(cursor) as stream:
            assert cursor <= 1
            assert len(stream.replayed) == 3
    except aio.AioRpcError as error:
        assert cursor > 1
        assert error.code() == grpc.StatusCode.OUT_OF_RANGE


async def test_a_command_that_asks_for_nothing_is_refused(api: Api) -> None:
    scene = await Scene.made(api)
    async with scene.ann.stream() as stream:
        # A field that this server does not know is nothing to it.
        unknown = chat_pb2.Command.FromString(b"\x08\x01\xfa\x7f\x00")
        for command in (chat_pb2.Command(command_id=1), unknown):
            await stream.write(command)
            result = await stream.next("command_result")
            assert (result.command_id, CODES[result.error.code]) == (1, grpc.StatusCode.INVALID_ARGUMENT)
            assert details_of(result.error).fields == ["body"]
        await stream.write(chat_pb2.Command(command_id=2**64 - 1))
        assert (await stream.next("command_result")).command_id == 2**64 - 1


async def test_people_named_twice_and_oneself_count_once(api: Api) -> None:
    scene = await Scene.made(api)
    ann, bob, cid = scene.ann, scene.bob, await api.sign_up("cid")
    group = await ann.group(bob, bob, ann, bob)
    assert sorted(each.user_id for each in group.members) == sorted([ann.user_id, bob.user_id])
    request = channel_pb2.AddMembersRequest(
        channel_id=group.channel_id, member_ids=[cid.user_id, ann.user_id, cid.user_id]
    )
    added = (await api.channels.AddMembers(request, metadata=ann.metadata)).channel
    assert [each.user_id for each in added.members][-1:] == [cid.user_id]
    assert len(added.members) == 3
    asked = presence_pb2.GetPresenceRequest(user_ids=[bob.user_id, ann.user_id, bob.user_id])
    stub: Any = await api.presence()
    answer = await stub.GetPresence(asked, metadata=ann.metadata)
    assert [each.user_id for each in answer.presences] == [bob.user_id, ann.user_id, bob.user_id]


async def test_a_page_token_is_good_for_its_list_alone(api: Api) -> None:
    ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
    for device in (ann, bob):
        await device.group()
        await device.group()
    lists: dict[Any, tuple[Device, Any, Any]] = {
        (device.user.username, name): (device, method, request)
        for device in (ann, bob)
        for name, method, request in (
            ("channels", api.channels.ListChannels, channel_pb2.ListChannelsRequest(page_size=1)),
            ("ann-", api.accounts.SearchUsers, account_pb2.SearchUsersRequest(prefix="ann-", page_size=1)),
            ("bob-", api.accounts.SearchUsers, account_pb2.SearchUsersRequest(prefix="bob-", page_size=1)),
        )
    }
    # Names go on after this one's, so that its page is not the last.
    await api.sign_up("ann")
    await api.sign_up("bob")
    tokens = {}
    for key, (device, method, request) in lists.items():
        tokens[key] = (await method(request, metadata=device.metadata)).next_page_token
        assert tokens[key]
    for key, (device, method, request) in lists.items():
        for origin, token in tokens.items():
            request.page_token = token
            if origin == key:
                await method(request, metadata=device.metadata)
                continue
            with pytest.raises(aio.AioRpcError) as caught:
                await method(request, metadata=device.metadata)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert details_of(caught.value).fields == ["page_token"]
