"""Finds out what an inbox asks for: what a stream left out, the history knows."""

from __future__ import annotations

import logging

import grpc

from tidings.v1 import channel_pb2, chat_pb2, history_pb2
from tidings_client.api import Api
from tidings_client.dialogue import Dialogue
from tidings_client.errors import TidingsError
from tidings_client.inbox import Gap, Start

_log = logging.getLogger(__name__)

_PAGE = 200
# What one may not see is as good as what is not there.
_INVISIBLE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)


async def repair(dialogue: Dialogue, api: Api) -> None:
    """Supplies whatever `dialogue.inbox` needs, until it needs nothing.

    Raises:
        TidingsError: It could not be found out now. The stream is then to be given up: what is missing will be
            asked for again when the next one replays what came after it.
    """
    while (need := dialogue.inbox.need) is not None:
        match need:
            case Gap():
                _log.info("events %s to %s of channel %s are missing", need.after + 1, need.before - 1, need.channel_id)
                dialogue.supply_events(await _events(need, api))
            case Start():
                dialogue.inbox.supply_start(await _first_seq(need.channel_id, api))
            case _:
                dialogue.inbox.supply_heads({channel.channel_id: channel.head_seq for channel in await channels(api)})


async def channels(api: Api) -> list[channel_pb2.Channel]:
    """All channels that the user is in, latest activity first.

    Raises:
        TidingsError: The server said no, or could not be reached.
    """
    found: list[channel_pb2.Channel] = []
    request = channel_pb2.ListChannelsRequest(page_size=_PAGE)
    while True:
        page = await api.ask(api.channels.ListChannels, request)
        found.extend(page.channels)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _events(gap: Gap, api: Api) -> list[chat_pb2.Event]:
    request = history_pb2.ListEventsRequest(channel_id=gap.channel_id, page_size=_PAGE)
    if gap.after:
        request.after_seq = gap.after
    else:
        # 0 means that after_seq is not set. The page before this one is the first of the log.
        request.before_seq = min(gap.before, _PAGE + 1)
    try:
        page = await api.ask(api.history.ListEvents, request)
    except TidingsError as error:
        if error.code not in _INVISIBLE:
            raise
        _log.warning("events of channel %s are not to be had: %s", gap.channel_id, error)
        return []
    return list(page.events)


async def _first_seq(channel_id: str, api: Api) -> int:
    try:
        answer = await api.ask(api.channels.GetChannel, channel_pb2.GetChannelRequest(channel_id=channel_id))
    except TidingsError as error:
        if error.code not in _INVISIBLE:
            raise
        # The user has left the channel since: nothing tells where their stay began.
        return 0
    return answer.channel.my_since_seq
