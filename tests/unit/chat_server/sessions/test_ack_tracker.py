"""From acknowledged positions to delivered seqs."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from chat_server.sessions.ack_tracker import AckTracker


def test_everything_up_to_the_position_was_delivered_in_each_channel() -> None:
    unacknowledged = AckTracker()
    for channel_id, position, seq in [("a", 10, 1), ("b", 20, 7), ("a", 30, 2), ("a", 40, 3)]:
        unacknowledged.sent(channel_id, position, seq)
    assert unacknowledged.acknowledged(5) == {}
    assert unacknowledged.acknowledged(30) == {"a": 2, "b": 7}
    assert unacknowledged.acknowledged(30) == {}
    assert unacknowledged.acknowledged(1 << 64) == {"a": 3}
    unacknowledged.sent("a", 50, 4)
    assert unacknowledged.acknowledged(50) == {"a": 4}


def test_with_many_marks_less_counts_than_could_and_never_more() -> None:
    unacknowledged = AckTracker()
    for seq in range(1, 1001):
        unacknowledged.sent("a", seq * 10, seq)
    assert unacknowledged.acknowledged(150) == {"a": 15}
    assert unacknowledged.acknowledged(9_990) == {}
    assert unacknowledged.acknowledged(10_000) == {"a": 1000}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sent"), st.sampled_from("ab"), st.integers(1, 5)),
            st.tuples(st.just("acknowledged"), st.just(""), st.integers(0, 200)),
        ),
        max_size=120,
    )
)
def test_what_counts_as_delivered_was_sent_is_news_and_comes_in_the_end(steps: list[tuple[str, str, int]]) -> None:
    unacknowledged = AckTracker()
    position = 0
    seqs = {"a": 0, "b": 0}
    positions: dict[tuple[str, int], int] = {}
    delivered = {"a": 0, "b": 0}
    for what, channel_id, number in steps:
        if what == "sent":
            position += number
            seqs[channel_id] += 1
            positions[channel_id, seqs[channel_id]] = position
            unacknowledged.sent(channel_id, position, seqs[channel_id])
        else:
            for each, seq in unacknowledged.acknowledged(number).items():
                assert positions[each, seq] <= number
                assert seq > delivered[each]
                delivered[each] = seq
    assert delivered | unacknowledged.acknowledged(position) == seqs


class Simple:
    """What an acknowledgement means, in as few words as can be: every channel is looked at."""

    def __init__(self) -> None:
        self.marks: dict[str, list[tuple[int, int]]] = {}

    def sent(self, channel_id: str, position: int, seq: int) -> None:
        marks = self.marks.setdefault(channel_id, [])
        if len(marks) == 16:
            marks.pop()
        marks.append((position, seq))

    def acknowledged(self, position: int) -> dict[str, int]:
        delivered = {}
        for channel_id, marks in self.marks.items():
            while marks and marks[0][0] <= position:
                delivered[channel_id] = marks.pop(0)[1]
        return delivered


@given(
    st.lists(
        st.one_of(
            # Each server numbers its channels by its own clock: positions ascend within a channel alone.
            st.tuples(st.sampled_from("abcde"), st.integers(1, 40)),
            st.tuples(st.just(""), st.integers(0, 400)),
        ),
        max_size=200,
    )
)
def test_it_does_what_looking_at_every_channel_would(steps: list[tuple[str, int]]) -> None:
    tracker, simple = AckTracker(), Simple()
    heads = dict.fromkeys("abcde", (0, 0))
    for channel_id, number in steps:
        if channel_id:
            position, seq = heads[channel_id]
            heads[channel_id] = position, seq = position + number, seq + 1
            tracker.sent(channel_id, position, seq)
            simple.sent(channel_id, position, seq)
        else:
            assert tracker.acknowledged(number) == simple.acknowledged(number)


def test_it_costs_the_same_with_one_channel_and_with_ten_thousand() -> None:
    def calls(channels: int) -> int:
        tracker = AckTracker()
        for n in range(channels):
            tracker.sent(f"c{n}", 1_000_000 + n, 1)
        tracker.sent("here", 1, 1)
        count = 0

        def happened(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(happened)
        try:
            assert tracker.acknowledged(1) == {"here": 1}
            assert tracker.acknowledged(1) == {}
        finally:
            sys.setprofile(None)
        return count

    assert calls(10_000) == calls(1)
