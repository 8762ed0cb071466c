"""Who has as many channels as allowed, or opened as many as allowed in a day, gets a clear no from a real server."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc import aio

from tests.support.processes import ServerProcess
from tests.support.raw import Api, Details, Device, details_of
from tests.support.settings import CHEAP_SIGN_UPS
from tidings.core.values import Role
from tidings.v1 import channel_pb2

pytestmark = pytest.mark.timeout(60)

_RATES = """
[rates.direct_channels]
per_second = 0.001
burst = 2

[rates.added_members]
per_second = 0.001
burst = 4
"""


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(folder, config=CHEAP_SIGN_UPS + _RATES) as started:
        yield started


@pytest.fixture
async def api(server: ServerProcess) -> AsyncIterator[Api]:
    made = Api(server.endpoint)
    yield made
    await made.close()


def put_into_groups(server: ServerProcess, device: Device, groups: int, role: Role) -> None:
    """What as many calls would leave, in one write beside the server."""
    rows = [(f"g{role.name}{number}", device.user_id, role) for number in range(groups)]
    with closing(sqlite3.connect(server.data / "tidings.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO memberships (channel_id, user_id, since_seq, until_seq, role, joined_at_ms)"
            " VALUES (?, ?, 1, 0, ?, 1)",
            rows,
        )


async def refused(call: Awaitable[object], code: grpc.StatusCode) -> Details:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code
    return details_of(caught.value)


def assert_full(details: Details, reason: str, metadata: Mapping[str, str]) -> None:
    assert (details.reason, dict(details.info.metadata), details.retry) == (reason, metadata, None)


async def add(device: Device, channel_id: str, *others: Device) -> None:
    request = channel_pb2.AddMembersRequest(channel_id=channel_id, member_ids=[each.user_id for each in others])
    await device.api.channels.AddMembers(request, metadata=device.metadata)


async def test_one_owns_at_most_1000_groups(server: ServerProcess, api: Api) -> None:
    ann, ben = await api.sign_up("ann"), await api.sign_up("ben")
    given = await ben.group(ann)
    put_into_groups(server, ann, 999, Role.OWNER)
    await ann.group()
    full = {"limit": "1000", "actual": "1000", "user_id": ann.user_id}
    details = await refused(ann.group(), grpc.StatusCode.FAILED_PRECONDITION)
    assert_full(details, "TOO_MANY_GROUPS", {"field": "member_ids", **full})
    change = channel_pb2.UpdateGroupRequest(
        channel_id=given.channel_id,
        role_change=channel_pb2.RoleChange(user_id=ann.user_id, role=channel_pb2.MEMBER_ROLE_OWNER),
    )
    handing_over = api.channels.UpdateGroup(change, metadata=ben.metadata)
    details = await refused(handing_over, grpc.StatusCode.FAILED_PRECONDITION)
    assert_full(details, "TOO_MANY_GROUPS", {"field": "role_change.user_id", **full})
    await ann.direct(ben)


async def test_one_is_in_at_most_10000_channels_of_which_others_fill_8000(server: ServerProcess, api: Api) -> None:
    ann, ben = await api.sign_up("ann"), await api.sign_up("ben")
    mine = await ben.group()
    put_into_groups(server, ann, 8_000, Role.MEMBER)
    full = {"limit": "8000", "actual": "8000", "user_id": ann.user_id}
    for call, field in (
        (ben.direct(ann), "user_id"),
        (ben.group(ann), "member_ids"),
        (add(ben, mine.channel_id, ann), "member_ids"),
    ):
        details = await refused(call, grpc.StatusCode.FAILED_PRECONDITION)
        assert_full(details, "TOO_MANY_CHANNELS", {"field": field, **full})
    await ann.direct(ben)
    await ann.group(ben)

    put_into_groups(server, ann, 1_997, Role.ADMIN)
    await ann.group()
    for call, field in ((ann.group(), "member_ids"), (ann.direct(await api.sign_up("cas")), "user_id")):
        details = await refused(call, grpc.StatusCode.FAILED_PRECONDITION)
        full = {"field": field, "limit": "10000", "actual": "10000", "user_id": ann.user_id}
        assert_full(details, "TOO_MANY_CHANNELS", full)
    # Those that are there already, and messages, go on.
    channel_id = (await ann.direct(ben)).channel_id
    async with ann.stream() as stream:
        assert not (await stream.send(channel_id, "still here")).HasField("error")


async def test_direct_channels_that_one_opens_are_counted_over_a_day(api: Api) -> None:
    ann, *others = [await api.sign_up(name) for name in ("ann", "ben", "cas", "dan")]
    for _ in range(2):
        for other in others[:2]:
            await ann.direct(other)
            await other.direct(ann)
    details = await refused(ann.direct(others[2]), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert details.reason == "RATE_LIMITED"
    assert dict(details.info.metadata) == {"field": "user_id", "limit": "2", "actual": "1"}
    assert details.retry is not None and 900 < details.retry.retry_delay.ToTimedelta().total_seconds() <= 1_000
    await others[2].direct(ann)
    await ann.direct(others[2])


async def test_people_whom_one_adds_are_counted_over_a_day(api: Api) -> None:
    ann, *others = [await api.sign_up(name) for name in ("ann", "ben", "cas", "dan")]
    group = await ann.group(*others)
    await add(ann, group.channel_id, *others)
    for call in (ann.group(*others[:2]), add(ann, (await ann.group()).channel_id, *others[:2])):
        details = await refused(call, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert details.reason == "RATE_LIMITED"
        assert dict(details.info.metadata) == {"field": "member_ids", "limit": "4", "actual": "2"}
        assert details.retry is not None and 900 < details.retry.retry_delay.ToTimedelta().total_seconds() <= 1_000
    await ann.group(others[0])
