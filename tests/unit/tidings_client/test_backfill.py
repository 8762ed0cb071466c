"""How the SDK finds out what a stream left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.unit.tidings_client.test_session_protocol import drain, live, message
from tidings.v1 import channel_pb2, chat_pb2, history_pb2
from tidings_client._api_client import ApiClient
from tidings_client._backfill import backfill


class History:
    """A channel whose pages hold at most three events, as if those were large."""

    def __init__(self, first: int, head: int, since_seq: int) -> None:
        self.events = [message(seq) for seq in range(first, head + 1)]
        self.since_seq = since_seq
        self.asked: list[tuple[int, int]] = []
        self.channels = SimpleNamespace(GetChannel=self._channel)
        self.history = SimpleNamespace(ListEvents=self._page)

    async def ask(self, method: Any, request: Any) -> Any:
        return method(request)

    def _channel(self, request: channel_pb2.GetChannelRequest) -> channel_pb2.GetChannelResponse:
        return channel_pb2.GetChannelResponse(channel=channel_pb2.Channel(my_since_seq=self.since_seq))

    def _page(self, request: history_pb2.ListEventsRequest) -> history_pb2.ListEventsResponse:
        self.asked.append((request.before_seq, request.after_seq))
        if request.HasField("after_seq"):
            page = [each for each in self.events if each.message.seq > request.after_seq][:3]
        else:
            page = [each for each in self.events if each.message.seq < request.before_seq][-3:]
        return history_pb2.ListEventsResponse(events=page)


async def _repaired(history: History, *, met: int) -> list[int]:
    """The seqs that the application gets when a new channel is first met at `met`."""
    talk = live()
    talk.receive(chat_pb2.ConverseResponse(events=[message(met)]), 0.0)
    await backfill(talk, cast(ApiClient, history))
    return [each.message.seq for each in drain(talk)]


async def test_the_beginning_of_a_log_is_read_whole_though_its_pages_are_small() -> None:
    history = History(first=1, head=8, since_seq=1)
    assert await _repaired(history, met=9) == list(range(1, 10))
    assert history.asked == [(0, 0), (0, 3), (0, 6)]


async def test_what_history_does_not_show_is_not_asked_for_again_and_again() -> None:
    history = History(first=4, head=8, since_seq=1)
    assert await _repaired(history, met=9) == list(range(4, 10))
    assert history.asked == [(0, 0), (0, 6)]


async def test_a_gap_behind_the_beginning_is_read_forwards() -> None:
    history = History(first=4, head=8, since_seq=4)
    assert await _repaired(history, met=9) == list(range(4, 10))
    assert history.asked == [(0, 3), (0, 6)]
