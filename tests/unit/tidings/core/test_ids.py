"""The syntax of ids."""

from __future__ import annotations

import pytest

from tidings.core import ids
from tidings.core.errors import Code, Refusal


def test_what_is_made_here_is_an_id() -> None:
    made = [ids.new_user_id(), ids.new_device_id(), ids.new_group_id(), ids.new_session_id(), ids.new_server_id()]
    for each in (*made, ids.direct_channel_id("ann", "ben"), "x", "x" * 64, "A-Z_09"):
        ids.check_id("user_id", each)


@pytest.mark.parametrize("wrong", ["", "\0", "a\0", "a\n", " a", "a b", "ä", "٣", "a.b", "a/b", "'", "x" * 65])
def test_what_is_no_id(wrong: str) -> None:
    with pytest.raises(Refusal) as caught:
        ids.check_id("member_ids[3]", wrong)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in caught.value.violations] == ["member_ids[3]"]
    assert caught.value.metadata == {"limit": "64", "actual": str(len(wrong))}


@pytest.mark.parametrize(
    "made", ["0190f5a2-7b7c-7cc3-98c4-dc0c0c07398f", "01J2X3", "http://a.b/c?d=e", "a b+/==", "первое", "x" * 128, "😀"]
)
def test_a_client_calls_its_own_things_as_it_likes(made: str) -> None:
    ids.check_client_id("client_message_id", made, 128)


@pytest.mark.parametrize(
    "wrong", ["", "\0", "a\n", "\x7f", "\x9f", "a\u202eb", "\u200b", "\u2028", "\ue000", "x" * 129]
)
def test_but_not_with_what_cannot_be_seen(wrong: str) -> None:
    with pytest.raises(Refusal) as caught:
        ids.check_client_id("client_message_id", wrong, 128)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in caught.value.violations] == ["client_message_id"]
