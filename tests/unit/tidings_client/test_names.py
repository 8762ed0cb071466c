"""Names for messages: each once, and in the order of time."""

from __future__ import annotations

from unittest import mock

from tidings_client import new_client_message_id


def test_each_is_new() -> None:
    assert len({new_client_message_id() for _ in range(10_000)}) == 10_000


def test_a_later_one_sorts_behind() -> None:
    with mock.patch("time.time_ns", side_effect=[ms * 1_000_000 for ms in (1, 0xFFF, 0x1000, 1_800_000_000_000)]):
        names = [new_client_message_id() for _ in range(4)]
    assert names == sorted(names)
    assert {len(name) for name in names} == {32}
