"""How many fields a message has, without making anything of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.framing import has_more_than
from tidings.v1 import chat_pb2


@given(st.lists(st.text(max_size=300), max_size=40), st.integers(0, 40))
def test_commands_are_counted_as_the_parser_counts_them(texts: list[str], most: int) -> None:
    request = chat_pb2.ConverseRequest(
        commands=[chat_pb2.Command(send_message=chat_pb2.SendMessage(text=text)) for text in texts]
    )
    assert has_more_than(most, request.SerializeToString()) == (len(texts) > most)


@pytest.mark.parametrize(
    "field",
    [
        # An empty command, one whose tag and length are written longer than needed, and fields that nobody knows.
        b"\x0a\x00",
        b"\x8a\x00\x80\x80\x00",
        b"\x10\x96\x01",
        b"\x19" + bytes(8),
        b"\x25" + bytes(4),
        b"\xfa\xff\xff\xff\x0f\x01x",
    ],
)
def test_every_way_to_write_a_field_counts(field: bytes) -> None:
    assert not has_more_than(256, field * 256)
    assert has_more_than(256, field * 257)


@given(st.binary(max_size=2_000))
def test_any_bytes_give_an_answer(message: bytes) -> None:
    has_more_than(16, message)


def test_it_stops_at_the_first_one_too_many() -> None:
    # What is behind the 257th is no message at all, which the parser would have said.
    assert has_more_than(256, b"\x0a\x00" * 257 + b"\xff" * 1_000_000)
