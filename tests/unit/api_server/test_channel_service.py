"""`ChannelService`, `HistoryService` and `PushService` on loopback: what the messages carry, and who the caller is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from api_server.channel_service import ChannelService, HistoryService, PushService
from tests.support.channels import World, open_world
from tidings.core import actions
from tidings.core.values import PushProvider, PushToken
from tidings.rpc.interceptor import CallInterceptor
from tidings.rpc.live_calls import LiveCalls
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier
from tidings.v1 import channel_pb2 as c
from tidings.v1 import channel_pb2_grpc, history_pb2_grpc, push_pb2_grpc
from tidings.v1 import history_pb2 as h
from tidings.v1 import push_pb2 as p

TOKEN_MS = 15 * 60 * 1000


class Client:
    """Calls methods as users of one device each."""

    def __init__(self, world: World, issuer: TokenIssuer, channel: aio.Channel) -> None:
        self.world = world
        self._issuer = issuer
        self._stubs: list[Any] = [
            channel_pb2_grpc.ChannelServiceStub(channel),
            history_pb2_grpc.HistoryServiceStub(channel),
            push_pb2_grpc.PushServiceStub(channel),
        ]

    async def call(self, user_id: str, request: Any) -> Any:
        """Makes the call that a request is for."""
        method = type(request).__name__.removesuffix("Request")
        stub = next(each for each in self._stubs if hasattr(each, method))
        token, _ = self._issuer.issue(user_id, f"v{user_id}")
        return await getattr(stub, method)(request, metadata=(("authorization", f"Bearer {token}"),))

    async def refused(self, user_id: str, request: Any) -> tuple[grpc.StatusCode, str]:
        """The status and the reason of a refused call."""
        with pytest.raises(aio.AioRpcError) as caught:
            await self.call(user_id, request)
        trailing = dict(caught.value.trailing_metadata() or ())
        info = error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details:
            detail.Unpack(info)
        return caught.value.code(), info.reason


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with open_world(tmp_path) as world:
        await world.sign_up("ann", "ben", "cas")
        key = Ed25519PrivateKey.generate()
        verifier = TokenVerifier({"k": key.public_key()}, world.clock, Revocations(world.clock, TOKEN_MS))
        server = aio.server(interceptors=(CallInterceptor(verifier, LiveCalls()),))
        channel_pb2_grpc.add_ChannelServiceServicer_to_server(ChannelService(world.channels), server)
        history_pb2_grpc.add_HistoryServiceServicer_to_server(HistoryService(world.history), server)
        push_pb2_grpc.add_PushServiceServicer_to_server(PushService(world.push_tokens), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            yield Client(world, TokenIssuer(key, "k", world.clock, TOKEN_MS), channel)
        await server.stop(None)


async def test_a_direct_channel(client: Client) -> None:
    opened = await client.call("ann", c.OpenDirectChannelRequest(user_id="ben"))
    assert opened.channel.kind == c.CHANNEL_KIND_DIRECT
    assert {each.user_id for each in opened.channel.members} == {"ann", "ben"}
    again = await client.call("ben", c.OpenDirectChannelRequest(user_id="ann"))
    assert again.channel == opened.channel
    assert await client.refused("ann", c.OpenDirectChannelRequest(user_id="eve")) == (
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
    )


async def test_the_life_of_a_group(client: Client) -> None:
    made = (await client.call("ann", c.CreateGroupRequest(title="tea", member_ids=["ben"]))).channel
    channel_id = made.channel_id
    assert (made.title, made.kind, made.head_seq) == ("tea", c.CHANNEL_KIND_GROUP, 2)

    added = await client.call("ann", c.AddMembersRequest(channel_id=channel_id, member_ids=["cas"]))
    assert [each.user_id for each in added.channel.members] == ["ann", "ben", "cas"]
    seen = await client.call("cas", c.GetChannelRequest(channel_id=channel_id))
    assert (seen.channel.my_since_seq, seen.channel.head_seq) == (3, 3)

    change = c.RoleChange(user_id="ben", role=c.MEMBER_ROLE_ADMIN)
    updated = await client.call("ann", c.UpdateGroupRequest(channel_id=channel_id, title="coffee", role_change=change))
    assert updated.channel.title == "coffee"
    assert updated.channel.members[1].role == c.MEMBER_ROLE_ADMIN
    # A title that is present and empty is not one that is absent.
    assert await client.refused("ann", c.UpdateGroupRequest(channel_id=channel_id, title="", role_change=change)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    )
    only_role = c.UpdateGroupRequest(channel_id=channel_id, role_change=change)
    assert (await client.call("ann", only_role)).channel.title == "coffee"

    await client.call("ben", c.SetMuteRequest(channel_id=channel_id, muted=True))
    assert (await client.call("ben", c.GetChannelRequest(channel_id=channel_id))).channel.muted

    removed = await client.call("ann", c.RemoveMemberRequest(channel_id=channel_id, user_id="cas"))
    assert [each.user_id for each in removed.channel.members] == ["ann", "ben"]
    await client.call("ann", c.LeaveGroupRequest(channel_id=channel_id))
    (left,) = (await client.call("ben", c.GetChannelRequest(channel_id=channel_id))).channel.members
    assert (left.user_id, left.role) == ("ben", c.MEMBER_ROLE_OWNER)
    assert await client.refused("ann", c.GetChannelRequest(channel_id=channel_id)) == (
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
    )


async def test_the_list_of_channels(client: Client) -> None:
    for title in ("one", "two", "three"):
        await client.call("ann", c.CreateGroupRequest(title=title))
    page = await client.call("ann", c.ListChannelsRequest(page_size=2))
    assert [each.title for each in page.channels] == ["three", "two"]
    rest = await client.call("ann", c.ListChannelsRequest(page_size=2, page_token=page.next_page_token))
    assert ([each.title for each in rest.channels], rest.next_page_token) == (["one"], "")


async def test_history(client: Client) -> None:
    channel_id = (await client.call("ann", c.OpenDirectChannelRequest(user_id="ben"))).channel.channel_id
    for text in ("one", "two", "three"):
        await client.world.sequencer.submit(channel_id, "ann", actions.Send(text, text))
    await client.world.sequencer.submit(channel_id, "ann", actions.Edit(1, "first"))
    latest = await client.call("ben", h.ListMessagesRequest(channel_id=channel_id, page_size=2))
    assert [each.text for each in latest.messages] == ["two", "three"]
    before = await client.call("ben", h.ListMessagesRequest(channel_id=channel_id, before_seq=2))
    assert [each.text for each in before.messages] == ["first"]
    after = await client.call("ben", h.ListMessagesRequest(channel_id=channel_id, after_seq=1, page_size=1))
    assert [each.text for each in after.messages] == ["two"]
    first = await client.call("ben", h.ListMessagesRequest(channel_id=channel_id, after_seq=0, page_size=2))
    assert [each.text for each in first.messages] == ["first", "two"]
    begin = await client.call("ben", h.ListEventsRequest(channel_id=channel_id, after_seq=0, page_size=2))
    assert [each.message.seq for each in begin.events] == [1, 2]
    log = await client.call("ben", h.ListEventsRequest(channel_id=channel_id))
    assert [each.WhichOneof("body") for each in log.events] == ["message"] * 3 + ["message_edited"]
    assert log.events[0].message.text == "one"
    events = await client.call("ben", h.ListEventsRequest(channel_id=channel_id, after_seq=2, page_size=1))
    assert [each.message.seq for each in events.events] == [3]
    for request in (
        h.ListMessagesRequest(channel_id=channel_id, before_seq=1, after_seq=1),
        h.ListEventsRequest(channel_id=channel_id, before_seq=1, after_seq=1),
        h.ListMessagesRequest(channel_id=channel_id, before_seq=1, after_seq=0),
        h.ListEventsRequest(channel_id=channel_id, before_seq=1, after_seq=0),
    ):
        assert await client.refused("ben", request) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    for request in (h.ListMessagesRequest(channel_id=channel_id), h.ListEventsRequest(channel_id=channel_id)):
        assert await client.refused("cas", request) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_push_tokens_are_the_calling_devices(client: Client) -> None:
    store = client.world.push_token_store
    for user_id in ("ann", "ben"):
        await client.call(user_id, p.RegisterPushTokenRequest(provider=p.PUSH_PROVIDER_APNS, token=f"of {user_id}"))
    await client.call("ann", p.UnregisterPushTokenRequest())
    assert list(await store.of_users(["ann", "ben"])) == [PushToken("vben", "ben", PushProvider.APNS, "of ben")]
    assert await client.refused("ann", p.RegisterPushTokenRequest(token="x")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    )
