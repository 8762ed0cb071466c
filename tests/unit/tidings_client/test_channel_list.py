"""The list of channels is complete, however they move while it is read."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.sdk_fake import Backend, serve
from tidings.v1 import channel_pb2
from tidings_client import Tidings
from tidings_client._channel_list import ChannelList

PAGE = 2


class Server:
    """A server that keeps the channels in the order of their last activity."""

    def __init__(self, count: int) -> None:
        self.positions = {f"c{number}": number for number in range(1, count + 1)}
        self._last = count

    def touch(self, channel_id: str) -> None:
        """Something happens in a channel."""
        self._last += 1
        self.positions[channel_id] = self._last

    def page(self, before: int | None) -> tuple[list[channel_pb2.Channel], int | None]:
        """A page, and where the next one begins."""
        ordered = sorted(self.positions.items(), key=lambda each: -each[1])
        left = [each for each in ordered if before is None or each[1] < before]
        page = [channel_pb2.Channel(channel_id=each, head_position=position) for each, position in left[:PAGE]]
        return page, page[-1].head_position if len(left) > PAGE else None


@settings(max_examples=500)
@example(10, [[], [], [1], [3], [2], [1]])
@given(st.integers(0, 12), st.lists(st.lists(st.integers(1, 12), max_size=3), max_size=12))
def test_whatever_moves_between_pages_each_channel_is_there_once(count: int, moves: list[list[int]]) -> None:
    server = Server(count)
    before_reading = dict(server.positions)
    pauses = iter(moves)
    found = ChannelList()
    calls = 0
    while True:
        start: int | None = None
        while True:
            page, start = server.page(start)
            calls += 1
            for number in next(pauses, ()):
                if number <= count:
                    server.touch(f"c{number}")
            if not found.add(page) or start is None:
                break
        if found.ends_reading():
            break
    listed = found.channels
    assert sorted(each.channel_id for each in listed) == sorted(server.positions)
    positions = [each.head_position for each in listed]
    assert positions == sorted(positions, reverse=True)
    # Never older than what was true when it began.
    assert all(each.head_position >= before_reading[each.channel_id] for each in listed)
    if count <= PAGE:
        assert calls == 1


def test_a_quiet_list_costs_one_page_more() -> None:
    server = Server(9)
    found = ChannelList()
    calls = 0
    while True:
        start: int | None = None
        while True:
            page, start = server.page(start)
            calls += 1
            if not found.add(page) or start is None:
                break
        if found.ends_reading():
            break
    assert calls == 5 + 1


def test_a_server_that_gives_the_same_page_for_ever_is_not_asked_for_ever() -> None:
    page = [channel_pb2.Channel(channel_id="c", head_position=1)]
    found = ChannelList()
    assert found.add(page)
    assert not found.add(page)
    assert not found.ends_reading()
    assert not found.add(page)
    assert found.ends_reading()
    assert [each.channel_id for each in found.channels] == ["c"]


async def test_over_a_server_a_channel_that_moves_to_the_front_meanwhile_is_listed_once() -> None:
    backend = Backend()
    async with serve(backend) as (address, _), await Tidings.sign_up(address, "ann", "long enough") as ann:
        logs = [backend.channel([ann.user_id]) for _ in range(7)]
        pages = 0

        def move(page: list[channel_pb2.Channel]) -> None:
            nonlocal pages
            pages += 1
            if pages == 1:
                # Of the oldest, which is on the last page, and of one that has just been read.
                backend.say(logs[0], ann.user_id, "to the front")
                backend.say(logs[6], ann.user_id, "and once more")

        backend.on_list = move
        listed = await ann.list_channels()
        assert [each.channel_id for each in listed] == [logs[index].channel_id for index in (6, 0, 5, 4, 3, 2, 1)]
        assert [each.head_seq for each in listed] == [2, 2, 1, 1, 1, 1, 1]
