"""Fetches from the history what a stream left out."""

from __future__ import annotations

import logging

import grpc

from tidings.v1 import channel_pb2, chat_pb2, history_pb2
from tidings_client._api_client import ApiClient
from tidings_client._errors import TidingsError
from tidings_client._receive_buffer import Gap, Start
from tidings_client._session_protocol import SessionProtocol

_log = logging.getLogger(__name__)

_PAGE = 200
# What the user may not see counts as what is not there.
_INVISIBLE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)


async def backfill(protocol: SessionProtocol, api: ApiClient) -> None:
    """Fetches what `protocol.receive_buffer` needs, until it needs nothing.

    Raises:
        TidingsError: It could not be fetched now. The stream is then to be given up: the next one replays what came
            after the gap, and so brings the same need again.
    """
    while (need := protocol.receive_buffer.need) is not None:
        match need:
            case Gap():
                _log.info("events %s to %s of channel %s are missing", need.after + 1, need.before - 1, need.channel_id)
                protocol.supply_events(await _events(need, api))
            case Start():
                protocol.receive_buffer.supply_start(await _first_seq(need.channel_id, api))
            case _:
                heads = {channel.channel_id: channel.head_seq for channel in await api.list_channels()}
                protocol.receive_buffer.supply_heads(heads)


async def _events(gap: Gap, api: ApiClient) -> list[chat_pb2.Event]:
    request = history_pb2.ListEventsRequest(channel_id=gap.channel_id, after_seq=gap.after, page_size=_PAGE)
    try:
        return list((await api.ask(api.history.ListEvents, request)).events)
    except TidingsError as error:
        if error.code not in _INVISIBLE:
            raise
        _log.warning("the missing events of channel %s cannot be read: %s", gap.channel_id, error)
        return []


async def _first_seq(channel_id: str, api: ApiClient) -> int:
    try:
        answer = await api.ask(api.channels.GetChannel, channel_pb2.GetChannelRequest(channel_id=channel_id))
    except TidingsError as error:
        if error.code not in _INVISIBLE:
            raise
        # The user has left the channel since: nothing tells where their stay began.
        return 0
    return answer.channel.my_since_seq
