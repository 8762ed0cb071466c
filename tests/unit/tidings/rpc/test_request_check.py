"""Which field of a request is at fault; that every method is checked is for tests/e2e/test_defined_answers.py."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from tidings.core.errors import Code, Refusal
from tidings.internal.v1 import push_queue_pb2 as q
from tidings.rpc.request_check import check_request
from tidings.v1 import account_pb2, channel_pb2, discovery_pb2, presence_pb2

RIGHT = q.PushRequest(user_id="u1", channel_id="g1", seq=1)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (account_pb2.GetUserRequest(), "user_id"),
        (account_pb2.LogInRequest(device_id="v\0"), "device_id"),
        (presence_pb2.GetPresenceRequest(user_ids=["u1", "u 2"]), "user_ids[1]"),
        (discovery_pb2.RecommendServersRequest(exclude_server_ids=[""]), "exclude_server_ids[0]"),
        (
            channel_pb2.UpdateGroupRequest(channel_id="g1", role_change=channel_pb2.RoleChange(user_id="ü")),
            "role_change.user_id",
        ),
        (q.EnqueueRequest(requests=[RIGHT, q.PushRequest(channel_id="g1")]), "requests[1].user_id"),
        (q.EnqueueRequest(requests=[q.PushRequest(user_id="u1", channel_id="g\n")]), "requests[0].channel_id"),
        (q.CancelRequest(reads=[q.PushRead(user_id="u1")]), "reads[0].channel_id"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_the_field_that_is_wrong_is_named(request_: Message, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_request(request_)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "request_",
    [
        account_pb2.LogInRequest(),
        account_pb2.RefreshTokensRequest(attempt_id="whatever the rules of attempts say"),
        account_pb2.ListDevicesRequest(),
        presence_pb2.GetPresenceRequest(),
        channel_pb2.UpdateGroupRequest(channel_id="g1"),
        q.EnqueueRequest(requests=[RIGHT]),
    ],
)
def test_what_is_not_there_is_not_checked(request_: Message) -> None:
    check_request(request_)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (presence_pb2.GetPresenceRequest(user_ids=["\0"] * 1_001), "user_ids"),
        (discovery_pb2.RecommendServersRequest(exclude_server_ids=["n"] * 200_000), "exclude_server_ids"),
        (q.EnqueueRequest(requests=[RIGHT] * 1_001), "requests"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_field_has_a_thousand_items_at_most(request_: Message, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_request(request_)
    assert [each.field for each in caught.value.violations] == [field]
    assert caught.value.metadata == {"limit": "1000", "actual": str(len(getattr(request_, field)))}


def test_a_thousand_items_are_not_too_many() -> None:
    check_request(discovery_pb2.RecommendServersRequest(exclude_server_ids=["n"] * 1_000))
