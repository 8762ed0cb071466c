"""Every field of every request has an answer for every value: found by the contract's descriptors, so that a field that
is added is tried too."""

from __future__ import annotations

import secrets
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tests.support.raw import CODES, Api, Device, details_of
from tests.support.requests import FieldPath, bodies, filled, is_id, methods, multi_callable, scalars
from tidings.v1 import account_pb2

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
