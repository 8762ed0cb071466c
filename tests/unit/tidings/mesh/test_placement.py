"""Placement: everyone names the same sequencer, whatever they saw before, and a change weighs no more than it must."""

from __future__ import annotations

from hashlib import blake2b
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from tidings.mesh.placement import Placement

CHANNELS = [f"channel-{n}" for n in range(40)]
SERVERS = [f"server-{n}" for n in range(6)]


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(SERVERS)), st.lists(st.sampled_from(CHANNELS), max_size=20)),
        min_size=1,
        max_size=6,
    )
)
def test_it_names_the_same_sequencer_whatever_it_saw_before(steps: list[tuple[set[str], list[str]]]) -> None:
    placement = Placement()
    for server_ids, asked in steps:
        placement = placement.changed(server_ids)
        assert placement.server_ids == server_ids
        # Only some are asked between two changes: what it knows of the others is older.
        for channel_id in asked:
            assert placement.server_of(channel_id) == Placement(server_ids).server_of(channel_id)
    fresh = Placement(placement.server_ids)
    assert [placement.server_of(each) for each in CHANNELS] == [fresh.server_of(each) for each in CHANNELS]


def test_a_change_weighs_only_what_it_may_move() -> None:
    placement = Placement(SERVERS)
    before = {each: placement.server_of(each) for each in CHANNELS}
    with mock.patch("tidings.mesh.placement.blake2b", wraps=blake2b) as weighed:
        more = placement.changed([*SERVERS, "another"])
        after = {each: more.server_of(each) for each in CHANNELS}
        assert weighed.call_count == 2 * len(CHANNELS)
        assert {after[each] for each in CHANNELS if after[each] != before[each]} == {"another"}
        weighed.reset_mock()
        fewer = placement.changed(SERVERS[1:])
        orphans = sum(owner == SERVERS[0] for owner in before.values())
        assert [fewer.server_of(each) for each in CHANNELS] == [
            Placement(SERVERS[1:]).server_of(each) for each in CHANNELS
        ]
        # The second placement, which knew nothing, weighed all of them for every channel.
        assert weighed.call_count == (orphans + len(CHANNELS)) * (len(SERVERS) - 1)
        assert 0 < orphans < len(CHANNELS)
