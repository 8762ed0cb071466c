"""From acknowledged positions to delivered seqs."""

from __future__ import annotations

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
