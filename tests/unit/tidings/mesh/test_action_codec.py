"""Actions on their way between servers: every one arrives as it was sent."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.actions import Action, Aside
from tidings.core.errors import Refusal
from tidings.internal.v1 import peer_pb2
from tidings.mesh.action_codec import decode, encode
from tidings.v1 import channel_pb2

_KINDS: tuple[type[Any], ...] = (*get_args(Action), *get_args(Aside))

NEWER: Any = 99
"""The number of a kind or a role that this server does not know."""

_SEQS = st.integers(0, (1 << 63) - 1)


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_an_action_arrives_as_it_was_sent(kind: type[Any], data: st.DataObject) -> None:
    # A seq has 63 bits; what else there is may be any value of its type.
    seqs = {name: _SEQS for name, hint in get_type_hints(kind).items() if hint is int}
    action = data.draw(st.builds(kind, **seqs))
    request = peer_pb2.ChannelRequest()
    encode(request, action)
    assert decode(peer_pb2.ChannelRequest.FromString(request.SerializeToString())) == action


@pytest.mark.parametrize(
    "newer",
    [
        peer_pb2.ChannelRequest(),
        peer_pb2.ChannelRequest(create_channel=peer_pb2.CreateChannel(kind=NEWER)),
        peer_pb2.ChannelRequest(
            update_group=channel_pb2.UpdateGroupRequest(role_change=channel_pb2.RoleChange(role=NEWER))
        ),
    ],
)
def test_an_action_of_a_newer_server_is_refused(newer: peer_pb2.ChannelRequest) -> None:
    with pytest.raises(Refusal) as refused:
        decode(newer)
    assert (refused.value.code.name, refused.value.reason) == ("INVALID_ARGUMENT", "UNKNOWN_ACTION")
