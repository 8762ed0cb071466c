"""`ChannelService`, `HistoryService` and `PushService`: the gRPC edge of channels, history and push tokens."""

from __future__ import annotations

from typing import Any

from grpc import aio

from api_server import channel_convert as convert
from api_server.channels import ChannelCalls
from api_server.history import HistoryReader
from api_server.push_tokens import PushTokens
from tidings.rpc.live_calls import caller
from tidings.v1 import (
    channel_pb2,
    channel_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    push_pb2,
    push_pb2_grpc,
)

Context = aio.ServicerContext[Any, Any]


class ChannelService(channel_pb2_grpc.ChannelServiceServicer):
    """The gRPC service of channels.

    Args:
        channels: The rules.
    """

    def __init__(self, channels: ChannelCalls) -> None:
        self._channels = channels

    async def OpenDirectChannel(
        self, request: channel_pb2.OpenDirectChannelRequest, context: Context
    ) -> channel_pb2.OpenDirectChannelResponse:
        """See channel.proto."""
        me = caller().user_id
        view = await self._channels.open_direct(me, request.user_id)
        return channel_pb2.OpenDirectChannelResponse(channel=convert.channel(view, me))

    async def CreateGroup(
        self, request: channel_pb2.CreateGroupRequest, context: Context
    ) -> channel_pb2.CreateGroupResponse:
        """See channel.proto."""
        me = caller().user_id
        view = await self._channels.create_group(me, request.title, request.member_ids)
        return channel_pb2.CreateGroupResponse(channel=convert.channel(view, me))

    async def GetChannel(
        self, request: channel_pb2.GetChannelRequest, context: Context
    ) -> channel_pb2.GetChannelResponse:
        """See channel.proto."""
        me = caller().user_id
        view = await self._channels.get(me, request.channel_id)
        return channel_pb2.GetChannelResponse(channel=convert.channel(view, me))

    async def ListChannels(
        self, request: channel_pb2.ListChannelsRequest, context: Context
    ) -> channel_pb2.ListChannelsResponse:
        """See channel.proto."""
        me = caller().user_id
        page = await self._channels.list(me, request.page_size, request.page_token)
        return channel_pb2.ListChannelsResponse(
            channels=[convert.channel(view, me) for view in page.channels], next_page_token=page.next_page_token
        )

    async def AddMembers(
        self, request: channel_pb2.AddMembersRequest, context: Context
    ) -> channel_pb2.AddMembersResponse:
        """See channel.proto."""
        me = caller().user_id
        view = await self._channels.add_members(me, request.channel_id, request.member_ids)
        return channel_pb2.AddMembersResponse(channel=convert.channel(view, me))

    async def RemoveMember(
        self, request: channel_pb2.RemoveMemberRequest, context: Context
    ) -> channel_pb2.RemoveMemberResponse:
        """See channel.proto."""
        me = caller().user_id
        view = await self._channels.remove_member(me, request.channel_id, request.user_id)
        return channel_pb2.RemoveMemberResponse(channel=convert.channel(view, me))

    async def LeaveGroup(
        self, request: channel_pb2.LeaveGroupRequest, context: Context
    ) -> channel_pb2.LeaveGroupResponse:
        """See channel.proto."""
        await self._channels.leave(caller().user_id, request.channel_id)
        return channel_pb2.LeaveGroupResponse()

    async def UpdateGroup(
        self, request: channel_pb2.UpdateGroupRequest, context: Context
    ) -> channel_pb2.UpdateGroupResponse:
        """See channel.proto."""
        me = caller().user_id
        change = request.role_change
        view = await self._channels.update_group(
            me,
            request.channel_id,
            request.title if request.HasField("title") else None,
            (change.user_id, change.role) if request.HasField("role_change") else None,
        )
        return channel_pb2.UpdateGroupResponse(channel=convert.channel(view, me))

    async def SetMute(self, request: channel_pb2.SetMuteRequest, context: Context) -> channel_pb2.SetMuteResponse:
        """See channel.proto."""
        await self._channels.set_mute(caller().user_id, request.channel_id, request.muted)
        return channel_pb2.SetMuteResponse()


class HistoryService(history_pb2_grpc.HistoryServiceServicer):
    """The gRPC service of history.

    Args:
        history: Reads the logs.
    """

    def __init__(self, history: HistoryReader) -> None:
        self._history = history

    async def ListMessages(
        self, request: history_pb2.ListMessagesRequest, context: Context
    ) -> history_pb2.ListMessagesResponse:
        """See history.proto."""
        messages = await self._history.messages(
            caller().user_id, request.channel_id, request.before_seq, _after_seq(request), request.page_size
        )
        return history_pb2.ListMessagesResponse(messages=messages)

    async def ListEvents(
        self, request: history_pb2.ListEventsRequest, context: Context
    ) -> history_pb2.ListEventsResponse:
        """See history.proto."""
        events = await self._history.events(
            caller().user_id, request.channel_id, request.before_seq, _after_seq(request), request.page_size
        )
        return history_pb2.ListEventsResponse(events=events)


def _after_seq(request: history_pb2.ListMessagesRequest | history_pb2.ListEventsRequest) -> int | None:
    return request.after_seq if request.HasField("after_seq") else None


class PushService(push_pb2_grpc.PushServiceServicer):
    """The gRPC service of push tokens.

    Args:
        push_tokens: The rules.
    """

    def __init__(self, push_tokens: PushTokens) -> None:
        self._push_tokens = push_tokens

    async def RegisterPushToken(
        self, request: push_pb2.RegisterPushTokenRequest, context: Context
    ) -> push_pb2.RegisterPushTokenResponse:
        """See push.proto."""
        await self._push_tokens.register(caller(), request.provider, request.token, request.preview)
        return push_pb2.RegisterPushTokenResponse()

    async def UnregisterPushToken(
        self, request: push_pb2.UnregisterPushTokenRequest, context: Context
    ) -> push_pb2.UnregisterPushTokenResponse:
        """See push.proto."""
        await self._push_tokens.unregister(caller())
        return push_pb2.UnregisterPushTokenResponse()
