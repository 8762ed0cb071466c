"""A page token is good for the list that gave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.errors import Code, Refusal
from tidings.core.page_tokens import page_place, page_token


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_token_leads_back_to_its_place(of: str, place: str) -> None:
    token = page_token(of, place)
    assert page_place(of, token) == place
    with pytest.raises(Refusal):
        page_place(f"{of}'s neighbour", token)


@pytest.mark.parametrize(
    "token", ["a", "AAAA", "A" * 16, "no token!", "\0", "ä", "x" * 100_000, page_token("b", "1")[:-4]]
)
def test_what_no_list_gave_is_refused(token: str) -> None:
    with pytest.raises(Refusal) as caught:
        page_place("b", token)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in caught.value.violations] == ["page_token"]
