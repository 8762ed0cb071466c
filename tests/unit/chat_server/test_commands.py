"""Commands from the wire as actions, and what is wrong with a field."""

from __future__ import annotations

import pytest

from chat_server.commands import channel_action
from tidings.core.actions import Action, Delete, Edit, MarkRead, Send
from tidings.core.errors import Code, Refusal
from tidings.v1 import chat_pb2


def action(command: chat_pb2.Command) -> tuple[str, Action] | None:
    return channel_action(command, command.WhichOneof("body") or "")


def send(text: str = "hi", client_message_id: str = "m", reply_to_seq: int = 0) -> chat_pb2.Command:
    body = chat_pb2.SendMessage(
        client_message_id=client_message_id, channel_id="c", text=text, reply_to_seq=reply_to_seq
    )
    return chat_pb2.Command(command_id=1, send_message=body)


def edit(text: str = "hi", seq: int = 1, client_message_id: str = "") -> chat_pb2.Command:
    body = chat_pb2.EditMessage(channel_id="c", seq=seq, text=text, client_message_id=client_message_id)
    return chat_pb2.Command(command_id=1, edit_message=body)


def delete(seq: int) -> chat_pb2.Command:
    return chat_pb2.Command(delete_message=chat_pb2.DeleteMessage(channel_id="c", seq=seq))


def mark_read(seq: int) -> chat_pb2.Command:
    return chat_pb2.Command(mark_read=chat_pb2.MarkRead(channel_id="c", seq=seq))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (send("hi", "m", 7), Send("m", "hi", 7)),
        (edit("new", 3), Edit(3, "new", "")),
        (edit("new", 3, "e"), Edit(3, "new", "e")),
        (delete(4), Delete(4)),
        (mark_read(5), MarkRead(5)),
        (mark_read((1 << 64) - 1), MarkRead((1 << 64) - 1)),
    ],
)
def test_what_is_asked_of_a_channel(command: chat_pb2.Command, expected: Action) -> None:
    assert action(command) == ("c", expected)


@pytest.mark.parametrize(
    "command",
    [
        chat_pb2.Command(),
        chat_pb2.Command(hello=chat_pb2.Hello()),
        chat_pb2.Command(acknowledge=chat_pb2.Acknowledge(position=1)),
        chat_pb2.Command(set_typing=chat_pb2.SetTyping(channel_id="c")),
        chat_pb2.Command(reauthenticate=chat_pb2.Reauthenticate(access_token="t")),
    ],
)
def test_what_is_for_the_session_itself(command: chat_pb2.Command) -> None:
    assert action(command) is None


@pytest.mark.parametrize("text", ["x", "x" * 100_000, "😀" * 100_000, "\0", " "], ids=len)
def test_texts_of_up_to_100_000_code_points(text: str) -> None:
    for command in (send(text), edit(text)):
        asked = action(command)
        assert asked is not None
        assert isinstance(asked[1], Send | Edit)
        assert asked[1].text == text


@pytest.mark.parametrize(
    ("command", "field", "metadata"),
    [
        (send(""), "send_message.text", {"limit": "1", "actual": "0"}),
        (send("x" * 100_001), "send_message.text", {"limit": "100000", "actual": "100001"}),
        (send("😀" * 100_001), "send_message.text", {"limit": "100000", "actual": "100001"}),
        (send(client_message_id=""), "send_message.client_message_id", {"limit": "1", "actual": "0"}),
        (send(client_message_id="x" * 129), "send_message.client_message_id", {"limit": "128", "actual": "129"}),
        (edit(""), "edit_message.text", {"limit": "1", "actual": "0"}),
        (edit("x" * 100_001), "edit_message.text", {"limit": "100000", "actual": "100001"}),
        (edit(client_message_id="x" * 129), "edit_message.client_message_id", {"limit": "128", "actual": "129"}),
        (edit(seq=0), "edit_message.seq", {"actual": "0"}),
        (delete(0), "delete_message.seq", {"actual": "0"}),
        (mark_read(0), "mark_read.seq", {"actual": "0"}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_bad_field_is_named_with_its_limit_and_value(
    command: chat_pb2.Command, field: str, metadata: dict[str, str]
) -> None:
    with pytest.raises(Refusal) as caught:
        action(command)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in caught.value.violations] == [field]
    assert dict(caught.value.metadata) == metadata
    assert caught.value.message.startswith(field)
