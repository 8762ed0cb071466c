"""A queue in which everybody has a turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api_server.fair_queue import FairQueue


def test_keys_have_turns() -> None:
    queue: FairQueue[str] = FairQueue(10, 10)
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        assert queue.add(item[0], item)
    assert [queue.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not queue


def test_it_is_bounded_altogether_and_by_key() -> None:
    queue: FairQueue[int] = FairQueue(3, 2)
    assert [queue.add(key, 0) for key in "aaabcb"] == [True, True, False, True, False, False]
    queue.take()
    assert queue.add("c", 0)


@given(st.lists(st.sampled_from("abcde"), max_size=60))
def test_nothing_is_lost_and_each_keys_items_stay_in_order(keys: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(1_000, 1_000)
    for n, key in enumerate(keys):
        queue.add(key, (key, n))
    taken = [queue.take() for _ in range(len(queue))]
    assert sorted(taken) == sorted((key, n) for n, key in enumerate(keys))
    for key in set(keys):
        mine = [n for each, n in taken if each == key]
        assert mine == sorted(mine)


def test_what_is_given_up_leaves_its_place_to_others() -> None:
    queue: FairQueue[str] = FairQueue(3, 2)
    for item in ("a1", "a2", "b1"):
        assert queue.add(item[0], item)
    queue.discard("a", "a1")
    assert len(queue) == 2
    assert queue.add("a", "a3")
    queue.discard("b", "b1")
    # There is nothing any more to be taken out.
    queue.discard("b", "b1")
    queue.discard("a", "a1")
    assert [queue.take() for _ in range(len(queue))] == ["a2", "a3"]
    assert not queue
